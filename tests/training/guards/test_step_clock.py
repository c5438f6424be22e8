"""The seconds of steps: never negative, and a process that was stopped is no training time."""

from __future__ import annotations

import itertools

import pytest

from antiphon.training.guards.events import RunEvents
from antiphon.training.guards.step_clock import FEWEST, StepClock


def seconds_of(*readings: float) -> tuple[list[float], list[str]]:
    """What a clock measures whose source gives these readings, two a step."""
    source, lines = iter([0.0, *readings]), []
    clock = StepClock(RunEvents(lines.append), now=lambda: next(source))
    found = []
    for _ in range(len(readings) // 2):
        clock.begin()
        found.append(clock.end(step=1))
    return found, lines


def test_a_pause_is_counted_as_a_usual_step() -> None:
    usual = list(itertools.chain.from_iterable((step, step + 0.5) for step in range(FEWEST)))
    found, lines = seconds_of(*usual, 100, 7400, 7400, 7400.4, 7401, 7501)
    assert found == pytest.approx([0.5] * FEWEST + [0.5, 0.4, 100])
    assert len(lines) == 1 and "2:01:40" in lines[0] and "not counted" in lines[0]


def test_a_long_first_step_is_none() -> None:
    assert seconds_of(0, 3000) == ([3000], [])  # torch.compile


def test_steps_that_are_long_are_none() -> None:
    usual = list(itertools.chain.from_iterable((step * 100, step * 100 + 60) for step in range(FEWEST)))
    assert seconds_of(*usual, 1000, 2000)[0][-1] == 1000  # 17 usual ones: a slow disk


def test_a_source_that_goes_back_gives_zero() -> None:
    assert seconds_of(5, 3) == ([0.0], [])
