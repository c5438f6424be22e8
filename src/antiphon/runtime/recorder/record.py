"""Records the operations of a decoding step, so that they can be repeated without Python code.

The code of the step, with the user's own rules and mixers, runs once and computes its results. Every operation is
recorded with the memory that it reads and writes; an operation that has a kernel is computed by it. `program.py`
repeats the operations in the same memory.

    with recording(capacity) as recorder:
        logits = network.logits(network.decode(ids, tokens, memory, state)[0])
    recorder.entries                     # [KernelCall(...), TorchCall(...), ...]

A step whose code depends on the value of a tensor cannot be recorded: `Unrecordable`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from antiphon.runtime.kernels.calls import KernelCall, recording_state
from antiphon.runtime.recorder.lowering import LOWERED

# Operations that return the value of a tensor to Python, or a shape that depends on one.
VALUE_READS = frozenset(
    {"_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "nonzero", "masked_select", "unique"}
)
EMPTY = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"})


class Unrecordable(Exception):
    """A step cannot be recorded; the message says why."""


@dataclass(slots=True)
class TorchCall:
    """A PyTorch operation without a kernel. `writes` are its results, or the tensors that it changes in place."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    settings: Mapping[str, Any]
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    in_place: bool

    def __call__(self) -> None:
        """Repeat the operation in the same memory."""
        found = self.function(*self.arguments, **self.settings)
        if not self.in_place:
            for mine, new in zip(self.writes, _tensors(found), strict=True):
                mine.copy_(new)


Entry = KernelCall | TorchCall


class Recorder(TorchDispatchMode):
    """Records each operation within its context. It keeps every tensor alive, so that no memory is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.alive: list[object] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Without it, PyTorch would import its compiler, and sympy with it, when the first step is recorded."""
        return False

    def record(self, kernel: KernelCall) -> None:
        self.entries.append(kernel)

    def __torch_dispatch__(
        self, function: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        settings = kwargs or {}
        name = function._schema.name.removeprefix("aten::")
        if name in VALUE_READS:
            raise Unrecordable(f"its code reads the value of a tensor (`{name}`)")
        lower = LOWERED.get(name)
        found = lower(*args, **settings) if lower is not None else None
        if found is not None:
            self.alive.append((args, found))
            return found
        found = function(*args, **settings)
        self.alive.append((args, found))
        if name not in EMPTY:
            self._call(function, args, settings, found)
        return found

    def _call(self, function: Any, args: tuple[Any, ...], settings: Mapping[str, Any], found: Any) -> None:
        reads, results = _tensors((args, settings)), _tensors(found)
        if function._schema.is_mutable:
            # The tensors that change in place are among the arguments, and all arguments are read.
            changed = tuple(_changed(function, args, settings))
            self.entries.append(TorchCall(function, args, settings, reads, changed, in_place=True))
            return
        read = {memory_of(tensor) for tensor in reads}
        if results and not all(memory_of(result) in read for result in results):  # else it is a view
            self.entries.append(TorchCall(function, args, settings, reads, results, in_place=False))


def _changed(function: Any, args: Sequence[Any], settings: Mapping[str, Any]) -> Iterator[Tensor]:
    for place, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = settings.get(argument.name) if argument.kwarg_only or place >= len(args) else args[place]
            yield from _tensors(value)


def _tensors(tree: Any) -> tuple[Tensor, ...]:
    return tuple(leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def memory_of(tensor: Tensor) -> int:
    """The address of a tensor's storage, which identifies its memory."""
    return tensor.untyped_storage().data_ptr()


@contextlib.contextmanager
def recording(capacity: int, *, frozen: bool = False) -> Iterator[Recorder]:
    """Record the operations within the context, for positions below `capacity`. `frozen`: the weights are frozen, so
    that each is packed once."""
    state, recorder = recording_state, Recorder()
    state.recorder, state.capacity, state.frozen = recorder, capacity, frozen
    try:
        with recorder:
            yield recorder
    finally:
        state.recorder = None
