"""Writes down what a step of decoding does, so that it can be done again without Python.

Whatever the step's code is, a user's rule or mixer included, it runs once, for real, while every operation is noted
with the memory that it reads and writes. The ones that have a kernel are computed by it at once. `program.py` does the
same operations again, in the same memory.

    with recording(capacity) as notes:
        logits = network.logits(network.decode(ids, tokens, memory, state)[0])
    notes.entries                        # [KernelCall(...), TorchCall(...), ...]

A step whose code looks at the value of a tensor cannot be written down: `Unrecordable`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from antiphon.runtime.kernels.functions import KernelCall, here
from antiphon.runtime.recorder.lowering import LOWERED

# What gives Python a value, or a shape that depends on one.
LOOKS = frozenset(
    {"_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "nonzero", "masked_select", "unique"}
)
EMPTY = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"})


class Unrecordable(Exception):
    """Why a step cannot be written down, in a few words."""


@dataclass(slots=True)
class TorchCall:
    """One operation of PyTorch's that has no kernel. `writes` are its results, or what it changes in place."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    settings: Mapping[str, Any]
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    in_place: bool

    def __call__(self) -> None:
        """Do it again, in the same memory."""
        found = self.function(*self.arguments, **self.settings)
        if not self.in_place:
            for mine, new in zip(self.writes, _tensors(found), strict=True):
                mine.copy_(new)


Entry = KernelCall | TorchCall


class Recorder(TorchDispatchMode):
    """Notes each operation under it. Every tensor is kept, so that no memory is used for two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.kept: list[object] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else PyTorch would import its compiler, and sympy with it, for the first step that is recorded."""
        return False

    def note(self, kernel: KernelCall) -> None:
        self.entries.append(kernel)

    def __torch_dispatch__(
        self, function: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        settings = kwargs or {}
        name = function._schema.name.removeprefix("aten::")
        if name in LOOKS:
            raise Unrecordable(f"its code looks at the value of a tensor (`{name}`)")
        lower = LOWERED.get(name)
        found = lower(*args, **settings) if lower is not None else None
        if found is not None:
            self.kept.append((args, found))
            return found
        found = function(*args, **settings)
        self.kept.append((args, found))
        if name not in EMPTY:
            self._call(function, args, settings, found)
        return found

    def _call(self, function: Any, args: tuple[Any, ...], settings: Mapping[str, Any], found: Any) -> None:
        reads, results = _tensors((args, settings)), _tensors(found)
        if function._schema.is_mutable:
            # What changes in place is among the arguments, and all of them are read.
            changed = tuple(_changed(function, args, settings))
            self.entries.append(TorchCall(function, args, settings, reads, changed, in_place=True))
            return
        there = {memory_of(tensor) for tensor in reads}
        if results and not all(memory_of(result) in there for result in results):  # else it is a view: nothing is done
            self.entries.append(TorchCall(function, args, settings, reads, results, in_place=False))


def _changed(function: Any, args: Sequence[Any], settings: Mapping[str, Any]) -> Iterator[Tensor]:
    for place, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = settings.get(argument.name) if argument.kwarg_only or place >= len(args) else args[place]
            yield from _tensors(value)


def _tensors(tree: Any) -> tuple[Tensor, ...]:
    return tuple(leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def memory_of(tensor: Tensor) -> int:
    """What tells one piece of memory from another."""
    return tensor.untyped_storage().data_ptr()


@contextlib.contextmanager
def recording(capacity: int, *, settled: bool = False) -> Iterator[Recorder]:
    """Note what is done within, for positions below `capacity`; `settled`: weights stay as they are."""
    notes = Recorder()
    here.notes, here.capacity, here.settled = notes, capacity, settled
    try:
        with notes:
            yield notes
    finally:
        here.notes = None
