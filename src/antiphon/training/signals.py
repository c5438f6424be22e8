"""Ctrl-C and SIGTERM during training: handled between two steps, so that the loop can save before it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

EXIT_TERMINATED = 143


class StopSignal:
    """A context that records the first SIGINT or SIGTERM; a second one has its usual effect at once.

    Does nothing outside the main thread. `say` is called with a message immediately, since a step may take long.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        self.say = say
        self.received: int | None = None
        self._saying: threading.Thread | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal was received."""
        return self.received is not None

    def raise_if_requested(self) -> None:
        """Raise KeyboardInterrupt after Ctrl-C, SystemExit(143) after SIGTERM."""
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
        # From another thread: the signal may have interrupted this one while it holds the lock of the output stream.
        line = "saving after this step …; a second signal ends at once, without saving"
        self._saying = threading.Thread(target=self.say, args=(line,))
        self._saying.start()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
