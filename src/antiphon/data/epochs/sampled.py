"""A sample of texts from a corpus of any size, in memory of a fixed size: a pure function of the seed.

    sample = HashedSample(seed=0, max_items=1_000_000, max_bytes=256 << 20)
    for number, texts in enumerate(pairs):
        sample.add(number, texts)
    for source, target in sample.items(): ...

Each item has a hash of (seed, its number), and those with the smallest ones stay (bottom-k sampling, Cohen and Kemper
2007): every subset of equal size is equally likely, whatever the order in which the items come, and the sample of a
smaller bound is a part of that of a larger one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace

from antiphon.config import SourceConfig, is_files, source_list
from antiphon.config.data import FILE_SETTINGS
from antiphon.data.shards import shards
from antiphon.splitmix import mix

SAMPLED_SHARDS = 64  # of a source; more would have to be transferred for a sample of the same size


class HashedSample:
    """At most `max_items` items, of at most `max_bytes` bytes of text together; but at least one, of any size."""

    def __init__(self, *, seed: int, max_items: int, max_bytes: int) -> None:
        self._seed, self._max_items, self._max_bytes = seed, max_items, max_bytes
        self._heap: list[tuple[int, int, bytes]] = []  # (-hash, number, texts), the largest hash first
        self._bound = 1 << 64  # hashes from here on are not taken any more
        self.bytes = 0

    def add(self, number: int, texts: tuple[str, str]) -> None:
        """Take an item, or leave it out; `number` is its own."""
        key = mix(self._seed, number, 0)  # the last number alone moves the highest bits evenly, not at random
        if key >= self._bound:
            return
        text = "\0".join(one.replace("\0", " ") for one in texts).encode("utf-8", "replace")
        heapq.heappush(self._heap, (-key, number, text))
        self.bytes += len(text)
        while len(self._heap) > self._max_items or (self.bytes > self._max_bytes and len(self._heap) > 1):
            key, _, text = heapq.heappop(self._heap)
            self.bytes -= len(text)
            self._bound = -key

    def items(self) -> Iterator[tuple[str, str]]:
        """The texts of the sample, in the order of their numbers."""
        for _, _, text in sorted(self._heap, key=lambda item: item[1]):
            source, target = text.decode("utf-8").split("\0")
            yield source, target


def sampled_shards(data: object, *, seed: int, most: int = SAMPLED_SHARDS) -> object:
    """`data` with at most `most` shards of each source, drawn by `seed`."""
    if not is_files(data):
        return data
    made = tuple(_fewer(source, seed, number, most) for number, source in enumerate(source_list(data)))
    return made if isinstance(data, tuple) else made[0]


def _fewer(source: SourceConfig, seed: int, number: int, most: int) -> SourceConfig:
    known = shards(source)
    if len(known) <= most:
        return source
    drawn = sorted(sorted(range(len(known)), key=lambda shard: mix(seed, number, shard, 0))[:most])
    given = [name for name in FILE_SETTINGS if getattr(source, name) is not None]
    return replace(source, **{name: tuple(getattr(known[shard], name) for shard in drawn) for name in given})
