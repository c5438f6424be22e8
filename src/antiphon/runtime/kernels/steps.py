"""What a kernel is given (step.h), from Python: its tensors, sizes and numbers.

made = step("norm", (x, weight, None, out), (rows, dim, 0, dim, dim), (1e-5,))
run(made)
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from antiphon.runtime.kernels.compiler import library
from antiphon.runtime.kernels.layout import KernelArguments


@cache
def address(kernel: str) -> int:
    """Where the kernel called this begins."""
    found = library()
    assert found is not None, "kernels are asked for where there are some"
    value = ctypes.cast(getattr(found, kernel), ctypes.c_void_p).value
    assert value is not None
    return value


def step(
    kernel: str, tensors: Sequence[Tensor | None], sizes: Sequence[int], numbers: Sequence[float] = ()
) -> KernelArguments:
    """One call of a kernel. The caller keeps the tensors."""
    made = KernelArguments()
    made.run = address(kernel)
    made.p[: len(tensors)] = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    made.n[: len(sizes)] = sizes
    if numbers:
        made.f[: len(numbers)] = numbers
    return made


@cache
def _runner() -> ctypes._NamedFuncPointer:  # type: ignore[name-defined]
    found = library()
    assert found is not None
    runner = found.run_steps
    runner.argtypes, runner.restype = (ctypes.c_void_p, ctypes.c_int64), None
    found.set_threads.argtypes, found.set_threads.restype = (ctypes.c_int64,), None
    return runner


def run(steps: ctypes.Array[KernelArguments] | KernelArguments, count: int = 1) -> None:
    """Run `count` steps in order, on as many threads as torch uses."""
    _match_threads()
    _runner()(ctypes.addressof(steps), count)


_threads = 0


def _match_threads() -> None:
    global _threads
    wanted = torch.get_num_threads()
    if wanted != _threads:
        found, _threads = library(), wanted
        _runner()
        assert found is not None
        found.set_threads(wanted)
