"""Ctrl-C and SIGTERM during training: handled between two steps, so that the loop can save before it ends.

On several ranks a signal may reach one of them alone. They stop when they have exchanged it, all after the same step.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch

from antiphon.distributed.world import World

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_TERMINATED = 143


class StopSignal:
    """A context that records the first SIGINT or SIGTERM; a second one has its usual effect at once.

    Does nothing outside the main thread. `say` is called with a message immediately, since a step may take long.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None, world: World | None = None) -> None:
        self.say, self.world = say, world or World()
        self.received: int | None = None  # by this process
        self.agreed: int | None = None  # by any rank, as far as the ranks have exchanged it
        self._saying: threading.Thread | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal was received, on several ranks: by any of them when they last exchanged it."""
        return (self.received if self.world.size == 1 else self.agreed) is not None

    def flags(self) -> list[float]:
        """1.0 for the signal that this rank has received, 0.0 for the others; to be summed over the ranks."""
        return [float(self.received == number) for number in SIGNALS]

    def agree(self, sums: Sequence[float]) -> None:
        """Take note of the sums of `flags` over the ranks."""
        found = [number for number, count in zip(SIGNALS, sums, strict=True) if count]
        if found and self.agreed is None:
            self.agreed = self.received = found[-1]

    def exchanged(self) -> bool:
        """`requested`, after the ranks have exchanged it: a collective."""
        if self.world.size > 1:
            self.agree(self.world.sum(torch.tensor(self.flags(), dtype=torch.float64)).tolist())
        return self.requested

    def raise_if_requested(self) -> None:
        """Raise KeyboardInterrupt after Ctrl-C, SystemExit(143) after SIGTERM."""
        if self._saying is not None:
            self._saying.join()
        if not self.requested:
            return
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(EXIT_TERMINATED)

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
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
