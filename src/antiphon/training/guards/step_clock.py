"""The seconds of training steps, whatever happens to the clocks of the machine.

    clock = StepClock(RunEvents(print))
    began = time.perf_counter()
    seconds = clock.counted(time.perf_counter() - began, step=7)           # never negative

`time.perf_counter` is monotonic, and on Linux and macOS it stands still while the machine sleeps. It runs while the
process is stopped (SIGSTOP, Ctrl-Z, a paused virtual machine): a step that took more than PAUSE_SECONDS and more than
PAUSE_STEPS usual ones is counted as a usual one, with a message, so that a pause is no training time.
"""

from __future__ import annotations

import statistics
import time
from collections import deque

from antiphon.display import clock as as_clock
from antiphon.training.guards.events import RunEvents

PAUSE_SECONDS, PAUSE_STEPS = 600.0, 50.0
RECENT, FEWEST = 32, 5  # steps whose median is the usual time; fewer than FEWEST: nothing is a pause


class SteadyTime:
    """The time of day at its making, advanced by a monotonic clock: for time stamps that must not go back."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def seconds(self) -> float:
        """Seconds since 1970."""
        return self._offset + time.monotonic()


class StepClock:
    """What counts of the measured seconds of steps. `events` gets a line about each pause."""

    def __init__(self, events: RunEvents) -> None:
        self.events = events
        self._recent: deque[float] = deque(maxlen=RECENT)

    def counted(self, seconds: float, *, step: int) -> float:
        """The measured seconds of a step; those of a usual step if the process was stopped meanwhile."""
        seconds = max(0.0, seconds)
        if len(self._recent) >= FEWEST and seconds > max(PAUSE_SECONDS, PAUSE_STEPS * (usual := self.usual)):
            self.events.add(
                "pause",
                f"step {step} took {as_clock(seconds)} where the last ones took {usual:.2g} s: the process was "
                "stopped, or waited; this is not counted as training time",
                step=step,
                seconds=seconds,
            )
            return usual
        self._recent.append(seconds)
        return seconds

    @property
    def usual(self) -> float:
        """The median seconds of the last steps."""
        return statistics.median(self._recent)
