"""Ctrl-C and SIGTERM, heard between two steps: the loop saves first and then ends as the signal asked."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

EXIT_TERMINATED = 143


class StopSignal:
    """While entered, notes the first SIGINT or SIGTERM; a second one acts at once.

    Outside the main thread it hears nothing. `say` is given a line at once, as a step may take long.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        self.say = say
        self.received: int | None = None
        self._saying: threading.Thread | None = None
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.received is not None

    def obey(self) -> None:
        """KeyboardInterrupt for Ctrl-C, SystemExit(143) for SIGTERM, if one came."""
        if self._saying is not None:
            self._saying.join()
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(EXIT_TERMINATED)

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        # By a thread of its own, which waits where the signal came while this one was writing a line.
        line = "saving after this step …; a second signal ends at once, without saving"
        self._saying = threading.Thread(target=self.say, args=(line,))
        self._saying.start()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
