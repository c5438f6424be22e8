"""Time that does not depend on other programs: what a process waits for a processor is left out.

watch = Stopwatch()
...
watch.seconds, watch.waited         # without waiting for a processor, and the waiting
"""

from __future__ import annotations

import time
from pathlib import Path

_THREADS = Path("/proc/self/task")


class Stopwatch:
    """Counts from its creation. On Linux, `seconds` leaves out the time in which a thread of this process was ready to
    run but other programs had the processors; elsewhere `waited` is 0."""

    def __init__(self) -> None:
        self._began, self._waited = time.perf_counter(), _waits()

    @property
    def waited(self) -> float:
        """The most seconds that a thread has waited for a processor."""
        now = _waits()
        most = max((now[thread] - self._waited.get(thread, 0.0) for thread in now), default=0.0)
        return min(most, self.elapsed)

    @property
    def elapsed(self) -> float:
        """Seconds by the wall clock."""
        return time.perf_counter() - self._began

    @property
    def seconds(self) -> float:
        """Seconds without waiting."""
        elapsed = self.elapsed
        return max(elapsed - self.waited, 0.1 * elapsed)


def _waits() -> dict[str, float]:
    """The seconds that each thread has waited on a run queue (the scheduler's statistics of Linux)."""
    found = {}
    try:
        for thread in _THREADS.iterdir():
            found[thread.name] = int((thread / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return {}  # not Linux, or a thread that ended just now
    return found
