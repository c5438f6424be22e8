"""The kernels of src/antiphon/runtime/kernels, compiled for a test with flags or a table of arguments of its own."""

from __future__ import annotations

import ctypes
import os
import random
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from torch import Tensor

from antiphon.runtime.kernels.compiler import FLAGS, Unusable, c_compiler, compile_to
from antiphon.runtime.kernels.steps import ArgumentPacker
from antiphon.runtime.kernels.table import TABLE, Signature, by_kernel, header

STRICT = ("-Wall", "-Wextra", "-Werror")
INTEGER_FUNCTIONS = (
    "packed_int8_bytes",
    "packed_float_bytes",
    "workspace_bytes",
    "thread_count",
    "bytes_moved",
    "reorder_scratch_floats",
)


def _shuffled(signature: Signature) -> Signature:
    generator = random.Random(str(signature.kernels))
    parts = (signature.tensors, signature.sizes, signature.numbers)
    tensors, sizes, numbers = (tuple(generator.sample(names, len(names))) for names in parts)
    return replace(signature, tensors=tensors, sizes=sizes, numbers=numbers)


# Every argument of every kernel at another index: right only if both sides take each index from the table.
SHUFFLED = {name: _shuffled(signature) for name, signature in TABLE.items()}


class Kernels(ctypes.CDLL):
    """A compiled library, whose kernels are called with arguments by name."""

    def __init__(self, path: Path, table: Mapping[str, Signature]) -> None:
        super().__init__(str(path))
        self.packers = {kernel: ArgumentPacker(signature) for kernel, signature in by_kernel(table).items()}
        for name in INTEGER_FUNCTIONS:
            getattr(self, name).restype = ctypes.c_int64

    def call(
        self,
        kernel: str,
        tensors: Mapping[str, Tensor | None],
        sizes: Mapping[str, int],
        numbers: Mapping[str, float] | None = None,
    ) -> None:
        getattr(self, kernel)(self.packers[kernel](0, tensors, sizes, numbers or {}))


@cache
def _folder() -> Path:
    """The folder of this run's libraries, one for all of its processes, as each takes nine seconds."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return Path(tempfile.mkdtemp(prefix="antiphon-"))
    folder = Path(tempfile.gettempdir()) / f"antiphon-{run}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@cache
def library(*flags: str, shuffled: bool = False) -> Kernels:
    """The kernels compiled with these flags (`-march=native`, ...), without a warning; `shuffled`: with the table
    SHUFFLED. The test is skipped without a compiler."""
    return compiled(SHUFFLED if shuffled else TABLE, *flags, name="shuffled" if shuffled else "kernels")


def compiled(
    table: Mapping[str, Signature], *flags: str, name: str, called_with: Mapping[str, Signature] | None = None
) -> Kernels:
    """The kernels compiled with the header of `table`; `called_with`: the table of the Python side, if it differs."""
    try:
        compiler = c_compiler()
    except Unusable as error:
        pytest.skip(str(error))
    base = [flag for flag in FLAGS if flag != "-march=native"]
    path = _folder() / f"{name}{''.join(flags)}.so"
    if not path.is_file():
        compile_to(path, compiler, [*base, *STRICT, *flags], arguments_h=header(table))
    return Kernels(path, table if called_with is None else called_with)
