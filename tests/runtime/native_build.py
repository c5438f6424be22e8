"""The kernels of src/antiphon/runtime/kernels, compiled for a test in one way or another."""

from __future__ import annotations

import ctypes
import os
import tempfile
from functools import cache
from pathlib import Path

import pytest

from antiphon.runtime.kernels.compiler import FLAGS, Unusable, c_compiler, compile_to

STRICT = ("-Wall", "-Wextra", "-Werror")
PLAIN, RELU, GELU, GELU_TANH, SILU = range(5)


@cache
def _folder() -> Path:
    """Where this run's libraries are: one folder for all of its processes, as each takes nine seconds."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return Path(tempfile.mkdtemp(prefix="antiphon-"))
    folder = Path(tempfile.gettempdir()) / f"antiphon-{run}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@cache
def library(*flags: str) -> ctypes.CDLL:
    """The kernels compiled with these flags (`-march=native`, ...), without a warning; the test is skipped where there
    is no compiler."""
    try:
        compiler = c_compiler()
    except Unusable as error:
        pytest.skip(str(error))
    base = [flag for flag in FLAGS if flag != "-march=native"]
    path = _folder() / f"kernels{''.join(flags)}.so"
    if not path.is_file():
        compile_to(path, compiler, [*base, *STRICT, *flags])
    found = ctypes.CDLL(str(path))
    for name in ("packed_int8_bytes", "packed_float_bytes", "workspace_bytes", "thread_count", "bytes_moved"):
        getattr(found, name).restype = ctypes.c_int64
    found.reorder_scratch_floats.restype = ctypes.c_int64
    return found
