"""Calls of kernels from Python: their arguments by name (table.py), and the functions that run them.

arguments = pack(
    "norm",
    tensors={"x": x, "weight": weight, "bias": None, "out": out, "residual": None, "sum": None},
    sizes={"rows": 3, "dim": 512, "kind": 0, "x_stride": 512, "out_stride": 512},
    numbers={"eps": 1e-5},
)
run_packed(arguments)
run(KernelArguments.from_buffer_copy(arguments))     # the same
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping
from functools import cache
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from antiphon.runtime.kernels.compiler import library
from antiphon.runtime.kernels.layout import KernelArguments
from antiphon.runtime.kernels.table import MAX_NUMBERS, MAX_SIZES, MAX_TENSORS, SIGNATURES, Signature


@cache
def address(kernel: str) -> int:
    """The address of a kernel's code."""
    kernels = library()
    assert kernels is not None, "a kernel is used only where the library is compiled"
    value = ctypes.cast(getattr(kernels, kernel), ctypes.c_void_p).value
    assert value is not None
    return value


class ArgumentPacker:
    """Packs the arguments of a kernel, given by name, into the bytes of KernelArguments.

    (`struct` takes half the time of writing to the arrays of KernelArguments.)
    """

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        parts = (
            (signature.tensors, "Q", MAX_TENSORS),
            (signature.sizes, "q", MAX_SIZES),
            (signature.numbers, "d", MAX_NUMBERS),
        )
        # Unused elements of the three arrays are zero; every element has 8 bytes.
        arrays = [f"{len(names)}{kind}{8 * (limit - len(names))}x" for names, kind, limit in parts]
        self._pack = struct.Struct("".join(("Q", *arrays))).pack
        self._tensors, self._sizes, self._numbers = (_getter(names) for names, _, _ in parts)
        self._count = sum(len(names) for names, _, _ in parts)

    def __call__(
        self,
        address: int,
        tensors: Mapping[str, Tensor | None],
        sizes: Mapping[str, int],
        numbers: Mapping[str, float],
    ) -> bytes:
        """The arguments for the kernel at `address`. AssertionError unless the mappings have all names of the signature
        and no other."""
        try:
            pointers = [0 if tensor is None else tensor.data_ptr() for tensor in self._tensors(tensors)]
            packed = self._pack(address, *pointers, *self._sizes(sizes), *self._numbers(numbers))
        except KeyError:
            raise self._mismatch(tensors, sizes, numbers) from None
        if len(tensors) + len(sizes) + len(numbers) != self._count:
            raise self._mismatch(tensors, sizes, numbers)
        return packed

    def _mismatch(self, *given: Mapping[str, object]) -> AssertionError:
        signature = self.signature
        expected = {*signature.tensors, *signature.sizes, *signature.numbers}
        found = {name for mapping in given for name in mapping}
        problem = f"missing {sorted(expected - found)}, unknown {sorted(found - expected)}"
        return AssertionError(f"the arguments of {signature.kernels} must be those of table.py: {problem}")


def _getter(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """A function that returns the values of a mapping in the order of `names`."""
    if not names:
        return lambda values: ()
    if len(names) == 1:
        (name,) = names
        return lambda values: (values[name],)
    return itemgetter(*names)


_PACKERS = {kernel: ArgumentPacker(signature) for kernel, signature in SIGNATURES.items()}
NO_NUMBERS: dict[str, float] = {}


def pack(
    kernel: str,
    *,
    tensors: Mapping[str, Tensor | None],
    sizes: Mapping[str, int],
    numbers: Mapping[str, float] = NO_NUMBERS,
) -> bytes:
    """One call of a kernel: the bytes of KernelArguments. They contain addresses; the caller keeps the tensors alive.

    Each mapping has the names that table.py lists for the kernel, all of them and no other, else AssertionError.
    """
    return _PACKERS[kernel](address(kernel), tensors, sizes, numbers)


@cache
def _runner() -> ctypes._NamedFuncPointer:  # type: ignore[name-defined]
    kernels = library()
    assert kernels is not None
    runner = kernels.run_steps
    runner.argtypes, runner.restype = (ctypes.c_void_p, ctypes.c_int64), None
    kernels.set_threads.argtypes, kernels.set_threads.restype = (ctypes.c_int64,), None
    return runner


def run_packed(arguments: bytes) -> None:
    """Run one step, on as many threads as torch uses."""
    _match_threads()
    _runner()(arguments, 1)


def run(steps: ctypes.Array[KernelArguments] | KernelArguments, count: int = 1) -> None:
    """Run `count` steps in order, on as many threads as torch uses."""
    _match_threads()
    _runner()(ctypes.addressof(steps), count)


_threads = 0


def _match_threads() -> None:
    global _threads
    count = torch.get_num_threads()
    if count != _threads:
        kernels, _threads = library(), count
        _runner()
        assert kernels is not None
        kernels.set_threads(count)
