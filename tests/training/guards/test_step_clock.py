"""The seconds of steps: never negative, and a process that was stopped is no training time."""

from __future__ import annotations

import time

import pytest

from antiphon.training.guards.events import RunEvents
from antiphon.training.guards.step_clock import FEWEST, SteadyTime, StepClock


def counted(*seconds: float) -> tuple[list[float], list[str]]:
    """What counts of these measured seconds, and the lines about them."""
    lines: list[str] = []
    clock = StepClock(RunEvents(lines.append))
    return [clock.counted(each, step=step) for step, each in enumerate(seconds, 1)], lines


def test_a_pause_is_counted_as_a_usual_step() -> None:
    found, lines = counted(*[0.5] * FEWEST, 7300, 0.4, 100)
    assert found == [*[0.5] * FEWEST, 0.5, 0.4, 100]
    assert len(lines) == 1 and lines[0].startswith(f"step {FEWEST + 1} took 2:01:40") and "not counted" in lines[0]


def test_a_long_first_step_is_none() -> None:
    assert counted(3000) == ([3000], [])  # torch.compile


def test_steps_that_are_long_are_none() -> None:
    assert counted(*[60] * FEWEST, 1000)[0][-1] == 1000  # 17 usual ones: a slow disk


def test_a_measure_below_zero_is_zero() -> None:
    assert counted(-2.0) == ([0.0], [])


def test_time_stamps_do_not_follow_a_clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    real, shift = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + shift)
    made, found = SteadyTime(), []
    for shift in (0.0, -7200.0, 7200.0, -86400.0):  # noqa: B007
        found.append(made.seconds())
    assert found == sorted(found) and abs(found[-1] - real()) < 10
