"""Duplicates in memory and on disk against a plain count, and the lengths of texts against sorting them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from antiphon.inspection import repeats
from antiphon.inspection.lengths import from_counts, lengths_of
from antiphon.inspection.repeats import RepeatFinder


@pytest.mark.parametrize("held", [10_000, 64])
def test_repeats_are_those_of_a_plain_count(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_HELD", held)
    chance = random.Random(0)
    pairs = [(chance.randrange(200), chance.randrange(3)) for _ in range(1000)]
    finder = RepeatFinder()
    for start in range(0, 1000, 90):
        part = np.array(pairs[start : start + 90], np.int64)
        finder.add(part[:, 0] * 7919, part[:, 1], start)
    seen: dict[tuple[int, int], int] = {}
    first: dict[int, int] = {}
    duplicates, conflicts = [], []
    for number, (source, target) in enumerate(pairs):
        if (source, target) in seen:
            duplicates.append((number, seen[source, target]))
        seen.setdefault((source, target), number)
        first.setdefault(source, number)
        if pairs[first[source]][1] != target:
            conflicts.append((number, first[source]))
    found = finder.find(20)
    assert (found.count, found.duplicates) == (len(duplicates), duplicates[:20])
    assert (found.conflicts, found.conflicting) == (len(conflicts), conflicts[:20])
    assert finder.find(20).count == 0


def test_lengths_are_those_of_the_sorted_texts() -> None:
    chance = random.Random(0)
    sizes = sorted(int(chance.expovariate(1 / 40)) for _ in range(5000))
    found = lengths_of(sizes)
    assert (found.count, found.longest, found.median) == (5000, sizes[-1], sizes[2499])
    assert found.p90 == sizes[4499] and found.p99 == sizes[4949] and found.mean == pytest.approx(sum(sizes) / 5000)
    assert sum(count for *_, count in found.bars) == 5000
    for low, high, count in found.bars:
        assert count == sum(low <= size <= high for size in sizes)
    assert lengths_of([]).count == 0 and lengths_of([0]).bars == [(0, 0, 1)]
    assert from_counts(np.array([0, 2, 1]), longest=99).longest == 99
