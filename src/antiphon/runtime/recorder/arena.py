"""One arena for the temporary tensors of a recorded step.

While a step is recorded every tensor has its own memory, which identifies it. Afterwards tensors that are never in use
at the same time share memory. A program then needs the memory of its largest moment instead of the sum over the step,
and a kernel finds the output of the one before it in the processor's cache.

    arena = share_memory(steps, scaled=scaled, apart={memory_of(logits)})     # the kernels work there from now on
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.kernels.table import CACHE_LINE_BYTES
from antiphon.runtime.recorder.fusion import PRODUCTS
from antiphon.runtime.recorder.record import Entry, memory_of

IN_PLACE = frozenset({"put", "place"})  # kernels that change a tensor of earlier steps


@dataclass(slots=True)
class _Lifetime:
    """The steps from `first` to `last` that use a piece of memory, and its offset in the arena."""

    begin: int  # its own address
    size: int
    first: int
    movable: bool  # whether it may be in the arena
    last: int = 0
    scaled: bool = False  # whether a kernel writes it for the first rows alone when a program is run for fewer rows
    whole: bool = False  # whether it is read for all rows nevertheless
    offset: int = 0


def share_memory(steps: Sequence[Entry], *, scaled: Collection[int], apart: Collection[int]) -> Tensor:
    """Move the temporary tensors of `steps` into one arena, which is returned: the pointers of the kernels change, and
    `reads`, `writes` and `held` no longer contain tensors that a kernel does not point to.

    Not moved: `apart` (by `memory_of`), the tensors of PyTorch's own operations, tensors that exist before the step or
    change in place, integers, and tensors that kernels of `scaled` (by `id`) write and others read, because the rows
    that are left out would contain the data of other tensors.
    """
    lifetimes = _lifetimes(steps, scaled)
    moving = [life for memory, life in lifetimes.items() if life.movable and memory not in apart]
    moving = [life for life in moving if not (life.scaled and life.whole)]
    arena = torch.empty(_assign_offsets(moving) + CACHE_LINE_BYTES, dtype=torch.uint8)
    begin = arena.data_ptr() + -arena.data_ptr() % CACHE_LINE_BYTES
    for entry in steps:
        if not isinstance(entry, KernelCall):
            continue
        pointers = entry.step.p
        for i in range(len(pointers)):
            life = _find(pointers[i], moving)
            if life is not None:
                pointers[i] = begin + life.offset + pointers[i] - life.begin
        for name in ("reads", "writes", "held"):
            setattr(entry, name, tuple(each for each in getattr(entry, name) if _points_to(entry, each)))
    return arena


def _points_to(entry: KernelCall, tensor: Tensor | None) -> bool:
    """Whether a kernel has a pointer into the memory of a tensor."""
    if tensor is None:
        return False
    begin, size = memory_of(tensor), _bytes(tensor)
    return any(pointer is not None and begin <= pointer < begin + size for pointer in entry.step.p)


def _lifetimes(steps: Sequence[Entry], scaled: Collection[int]) -> dict[int, _Lifetime]:
    """The lifetime of each piece of memory that the steps use, by its address."""
    lifetimes: dict[int, _Lifetime] = {}
    for i, entry in enumerate(steps):
        for memory, (tensor, made) in _touched(entry).items():
            life = lifetimes.get(memory)
            if life is None:
                life = lifetimes[memory] = _Lifetime(memory, _bytes(tensor), i, movable=made)
            life.last = i
            life.movable &= isinstance(entry, KernelCall) and tensor.dtype in (torch.float32, torch.uint8)
            life.scaled |= made and id(entry) in scaled
            life.whole |= id(entry) not in scaled
    return lifetimes


def _touched(entry: Entry) -> dict[int, tuple[Tensor, bool]]:
    """The memory that an entry uses, by its address: a tensor in it, and whether the entry overwrites all of it."""
    if not isinstance(entry, KernelCall):
        return {memory_of(each): (each, False) for each in (*entry.reads, *entry.writes)}
    used = {memory_of(each): each for each in (*entry.reads, *entry.writes, *entry.held) if each is not None}
    old = {memory_of(each) for each in entry.reads}
    made = set() if entry.name in IN_PLACE else {memory_of(each) for each in entry.writes} - old
    if entry.name in PRODUCTS and not entry.size("reuse_workspace"):
        workspace = entry.pointer("workspace")
        made |= {begin for begin, each in used.items() if workspace and begin <= workspace < begin + _bytes(each)}
    return {begin: (each, begin in made) for begin, each in used.items() if _points_to(entry, each)}


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _assign_offsets(lifetimes: list[_Lifetime]) -> int:
    """Give each lifetime the lowest offset that is free from its first to its last step. Sorts `lifetimes` by address
    and returns the bytes of the arena."""
    in_use: list[tuple[int, int, int]] = []  # begin and end in the arena, last step
    arena_bytes = 0
    for life in sorted(lifetimes, key=lambda life: (life.first, -life.size)):
        in_use = [each for each in in_use if each[2] >= life.first]
        # The alignment within a cache line stays as it was.
        size = life.begin % CACHE_LINE_BYTES + life.size
        line = 0
        for begin, end, _ in in_use:
            if begin - line >= size:
                break
            line = max(line, -(-end // CACHE_LINE_BYTES) * CACHE_LINE_BYTES)
        life.offset = line + life.begin % CACHE_LINE_BYTES
        insort(in_use, (line, line + size, life.last))
        arena_bytes = max(arena_bytes, line + size)
    lifetimes.sort(key=lambda life: life.begin)
    return arena_bytes


def _find(pointer: int | None, lifetimes: Sequence[_Lifetime]) -> _Lifetime | None:
    """The lifetime, of those sorted by address, whose memory contains the pointer."""
    if pointer is None:
        return None
    i = bisect_right(lifetimes, pointer, key=lambda life: life.begin) - 1
    return lifetimes[i] if i >= 0 and pointer < lifetimes[i].begin + lifetimes[i].size else None
