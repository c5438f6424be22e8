"""The kernels of src/antiphon/nn/native, compiled for a test in one way or another."""

from __future__ import annotations

import ctypes
import tempfile
from functools import cache
from pathlib import Path

import pytest

from antiphon.nn.native.compiler import FLAGS, Unusable, c_compiler, compile_to

STRICT = ("-Wall", "-Wextra", "-Werror")
PLAIN, RELU, GELU, GELU_TANH, SILU = range(5)


@cache
def library(*flags: str) -> ctypes.CDLL:
    """The kernels compiled with these flags (`-march=native`, ...), without a warning; the test is skipped where there
    is no compiler."""
    try:
        compiler = c_compiler()
    except Unusable as error:
        pytest.skip(str(error))
    base = [flag for flag in FLAGS if flag != "-march=native"]
    with tempfile.TemporaryDirectory() as folder:  # a library that is loaded stays when its file goes
        path = Path(folder) / "kernels.so"
        compile_to(path, compiler, [*base, *STRICT, *flags])
        found = ctypes.CDLL(str(path))
    for name in ("packed_int8_bytes", "packed_float_bytes", "workspace_bytes", "thread_count", "bytes_moved"):
        getattr(found, name).restype = ctypes.c_int64
    found.reorder_scratch_floats.restype = ctypes.c_int64
    return found
