"""Pieces of memory that are in use at the same time never share a byte."""

from __future__ import annotations

import random

import pytest

from antiphon.runtime.kernels.table import CACHE_LINE_BYTES as LINE
from antiphon.runtime.recorder.arena import _assign_offsets, _Lifetime


@pytest.mark.parametrize("seed", range(40))
def test_no_two_lives_overlap(seed: int) -> None:
    """Wherever within a line they begin, where they go on beginning; and never more room than all of them need."""
    dice, lives = random.Random(seed), []
    for i in range(30):
        first = dice.randrange(20)
        begin = 4096 * i + 4 * dice.randrange(LINE // 4) * dice.randrange(2)
        size = dice.randrange(1, 300)
        lives.append(_Lifetime(begin=begin, size=size, first=first, movable=True, last=first + dice.randrange(8)))
    most = _assign_offsets(lives)
    for i, one in enumerate(lives):
        assert one.offset % LINE == one.begin % LINE and one.offset + one.size <= most
        for other in lives[:i]:
            if one.first <= other.last and other.first <= one.last:
                assert one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
    assert most <= sum(LINE + life.size + LINE for life in lives)
