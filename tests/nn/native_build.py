"""The kernels of src/antiphon/nn/native, compiled for a test."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "src" / "antiphon" / "nn" / "native"
FLAGS = "-std=c11 -Wall -Wextra -Werror -Wno-psabi -O3 -fno-math-errno -ffp-contract=fast -shared -fPIC -pthread"
SOURCES = ("threads.c", "linear_float.c", "linear_int8.c")
PLAIN, RELU, GELU, GELU_TANH, SILU = range(5)


class Step(ctypes.Structure):
    """step.h's Step."""

    _fields_ = (
        ("run", ctypes.c_void_p),
        ("p", ctypes.c_void_p * 8),
        ("n", ctypes.c_int64 * 32),
        ("f", ctypes.c_double * 2),
    )


@cache
def library(*flags: str) -> ctypes.CDLL:
    """The kernels compiled with these flags besides (`-march=native`, ...); the test is skipped without a compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("there is no C compiler (cc, gcc or clang)")
    into = Path(tempfile.mkdtemp()) / "kernels.so"
    command = [compiler, *FLAGS.split(), *flags, *(str(NATIVE / name) for name in SOURCES), "-o", str(into)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = ctypes.CDLL(str(into))
    for name in ("packed_int8_bytes", "packed_float_bytes", "workspace_bytes", "thread_count"):
        getattr(found, name).restype = ctypes.c_int64
    return found
