"""Draws and orders of an epoch: how many examples a source gives, which ones, and in what order shards are read.

All are pure functions of their arguments; a key is a text such as "seed epoch source".
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from antiphon.config import Shares


class Taken(Protocol):
    """An example that knows how many of its stream were returned with it."""

    @property
    def taken(self) -> int: ...


T = TypeVar("T", bound=Taken)


def share_out(counts: Sequence[int], shares: Shares) -> list[int]:
    """The number of examples of each source in an epoch, rounded by largest remainder to the sum of `counts`."""
    if shares == Shares():
        return list(counts)
    parts = shares.weights
    if parts is None:
        assert shares.temperature is not None
        logs = [math.log(max(count, 1)) / shares.temperature for count in counts]
        parts = tuple(math.exp(value - max(logs)) for value in logs)
    return _largest_remainder(sum(counts), parts)


def draw(count: int, size: float, key: str) -> Iterator[bool]:
    """For each of `count` items whether it is in a uniform random sample of `size` (algorithm S)."""
    chance, left = random.Random(key), size
    for rest in range(count, 0, -1):
        take = rest * chance.random() < left
        left -= take
        yield take


def _due(taken: int, size: float) -> float:
    """The point of the epoch, from 0 to 1, at which the next example of a stream of `size` examples is due; for one of
    unknown size the number of the example."""
    return float(taken) if size == math.inf else (taken + 0.5) / size if size else 1.0


def _largest_remainder(total: int, parts: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `parts` that add up to `total`."""
    whole = math.fsum(parts)
    exact = [total * part / whole for part in parts]
    sizes = [math.floor(size) for size in exact]
    order = sorted(range(len(sizes)), key=lambda number: (sizes[number] - exact[number], number))
    for number in order[: total - sum(sizes)]:
        sizes[number] += 1
    return sizes


def interleave(streams: Sequence[Iterator[T]], taken: Sequence[int], sizes: Sequence[float]) -> Iterator[T]:
    """The items of `streams`, of which `taken` items were returned before and `sizes` are due in all, evenly mixed.

    Streams of unknown size (inf) take turns.
    """
    waiting = [
        (_due(before, size), number)
        for number, (before, size) in enumerate(zip(taken, sizes, strict=True))
        if before < size
    ]
    heapq.heapify(waiting)
    while len(waiting) > 1:
        _, number = waiting[0]
        item = next(streams[number], None)
        if item is None or item.taken >= sizes[number]:
            heapq.heappop(waiting)
        else:
            heapq.heapreplace(waiting, (_due(item.taken, sizes[number]), number))
        if item is not None:
            yield item
    for _, number in waiting:
        for item in streams[number]:
            yield item
            if item.taken >= sizes[number]:
                break


def deal_shards(shard_count: int, open_shards: int, key: str) -> list[list[int]]:
    """The shards of a source in an order drawn by `key`, dealt to `open_shards` streams, which are read at the
    same time."""
    chance = random.Random(key)
    drawn = [chance.random() for _ in range(shard_count)]
    order = sorted(range(shard_count), key=drawn.__getitem__)
    count = min(open_shards, shard_count)
    return [order[first::count] for first in range(count)]


def split_size(size: int, counts: Sequence[int]) -> list[int]:
    """`size` split in proportion to `counts`, by largest remainder."""
    return list(counts) if size == sum(counts) else _largest_remainder(size, counts)
