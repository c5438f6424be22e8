"""One piece of memory for what a step makes and needs no longer before its end.

While a step is recorded every tensor has memory of its own, by which it is told from the others. Afterwards those that
are never there at the same time are given the same places, so that a program holds the widest moment of its step
instead of the whole of it, and what one kernel leaves in the processor's cache the next one finds there.

    arena = share_memory(steps, scaled=scaled, apart={memory_of(logits)})     # the kernels work there from now on
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.recorder.fusion import PRODUCTS, QUANTIZED, WORKSPACE
from antiphon.runtime.recorder.record import Entry, memory_of

LINE = 64  # bytes of a line of the cache
IN_PLACE = frozenset({"put", "place"})  # kernels that change what was there


@dataclass(slots=True)
class _Lifetime:
    """From which step to which a piece of memory is in use, and where it is to be; `moves`: whether it may."""

    begin: int
    size: int
    first: int
    moves: bool
    last: int = 0
    scaled: bool = False  # whether it is written for some rows alone, where not all are asked for
    whole: bool = False  # whether it is read for all rows nevertheless
    place: int = 0


def share_memory(steps: Sequence[Entry], *, scaled: Collection[int], apart: Collection[int]) -> Tensor:
    """Let the kernels of `steps` work in one piece of memory, which is given back; what they point to changes, and
    they hold no more of what they do not point to.

    What stays where it is: `apart` (by `memory_of`), what PyTorch's own operations see, what is there before the step
    or changes in place, whole numbers, and what is written by kernels of `scaled` (by `id`) and read by others, which
    would find in the rows that are left out what was never theirs.
    """
    lives = _lives(steps, scaled)
    moving = [life for memory, life in lives.items() if life.moves and memory not in apart]
    moving = [life for life in moving if not (life.scaled and life.whole)]
    arena = torch.empty(_settle(moving) + LINE, dtype=torch.uint8)
    begin = arena.data_ptr() + -arena.data_ptr() % LINE
    for entry in steps:
        if not isinstance(entry, KernelCall):
            continue
        pointers = entry.step.p
        for place in range(len(pointers)):
            life = _of(pointers[place], moving)
            if life is not None:
                pointers[place] = begin + life.place + pointers[place] - life.begin
        for name in ("reads", "writes", "held"):
            setattr(entry, name, tuple(each for each in getattr(entry, name) if _points_to(entry, each)))
    return arena


def _points_to(entry: KernelCall, tensor: Tensor | None) -> bool:
    """Whether the step of `entry` works in the memory of a tensor."""
    if tensor is None:
        return False
    begin, size = memory_of(tensor), _bytes(tensor)
    return any(pointer is not None and begin <= pointer < begin + size for pointer in entry.step.p)


def _lives(steps: Sequence[Entry], scaled: Collection[int]) -> dict[int, _Lifetime]:
    """The life of each piece of memory that the steps work in, by where it begins."""
    lives: dict[int, _Lifetime] = {}
    for i, entry in enumerate(steps):
        for memory, (tensor, made) in _touched(entry).items():
            life = lives.get(memory)
            if life is None:
                life = lives[memory] = _Lifetime(memory, _bytes(tensor), i, moves=made)
            life.last = i
            life.moves &= isinstance(entry, KernelCall) and tensor.dtype in (torch.float32, torch.uint8)
            life.scaled |= made and id(entry) in scaled
            life.whole |= id(entry) not in scaled
    return lives


def _touched(entry: Entry) -> dict[int, tuple[Tensor, bool]]:
    """What an entry works in, by where the memory begins: a tensor there, and whether all of it is made anew."""
    if not isinstance(entry, KernelCall):
        return {memory_of(each): (each, False) for each in (*entry.reads, *entry.writes)}
    there = {memory_of(each): each for each in (*entry.reads, *entry.writes, *entry.held) if each is not None}
    old = {memory_of(each) for each in entry.reads}
    made = set() if entry.name in IN_PLACE else {memory_of(each) for each in entry.writes} - old
    if entry.name in PRODUCTS and not entry.step.n[QUANTIZED]:
        room = entry.step.p[WORKSPACE]
        made |= {begin for begin, each in there.items() if room and begin <= room < begin + _bytes(each)}
    return {begin: (each, begin in made) for begin, each in there.items() if _points_to(entry, each)}


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _settle(lives: list[_Lifetime]) -> int:
    """Give each life a place, the lowest that is free for as long; the bytes that all take. `lives` are then in order
    of where they were."""
    there: list[tuple[int, int, int]] = []  # place, end, last step of those that are in use
    most = 0
    for life in sorted(lives, key=lambda life: (life.first, -life.size)):
        there = [each for each in there if each[2] >= life.first]
        place = 0
        for begin, end, _ in there:
            if begin - place >= life.begin % LINE + life.size:
                break
            place = max(place, -(-end // LINE) * LINE)
        # What begins within a line goes on doing so.
        life.place = place + life.begin % LINE
        insort(there, (place, place + life.begin % LINE + life.size, life.last))
        most = max(most, place + life.begin % LINE + life.size)
    lives.sort(key=lambda life: life.begin)
    return most


def _of(pointer: int | None, lives: Sequence[_Lifetime]) -> _Lifetime | None:
    """The one of `lives`, in order of where they begin, that a pointer points into."""
    if pointer is None:
        return None
    place = bisect_right(lives, pointer, key=lambda life: life.begin) - 1
    return lives[place] if place >= 0 and pointer < lives[place].begin + lives[place].size else None
