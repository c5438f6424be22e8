"""Pieces of memory that are in use at the same time never share a byte."""

from __future__ import annotations

import random

import pytest

from antiphon.runtime.recorder.arena import LINE, _Lifetime, _settle


@pytest.mark.parametrize("seed", range(40))
def test_no_two_lives_overlap(seed: int) -> None:
    """Wherever within a line they begin, where they go on beginning; and never more room than all of them need."""
    dice, lives = random.Random(seed), []
    for i in range(30):
        first = dice.randrange(20)
        begin = 4096 * i + 4 * dice.randrange(LINE // 4) * dice.randrange(2)
        size = dice.randrange(1, 300)
        lives.append(_Lifetime(begin=begin, size=size, first=first, moves=True, last=first + dice.randrange(8)))
    most = _settle(lives)
    for i, one in enumerate(lives):
        assert one.place % LINE == one.begin % LINE and one.place + one.size <= most
        for other in lives[:i]:
            if one.first <= other.last and other.first <= one.last:
                assert one.place + one.size <= other.place or other.place + other.size <= one.place
    assert most <= sum(LINE + life.size + LINE for life in lives)
