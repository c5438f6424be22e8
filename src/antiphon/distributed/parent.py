"""Processes that must not outlive the one that started them.

    end_with_parent(parent)     # in the child: SIGTERM to itself, once the process `parent` is gone

A launcher or a sweep that is killed (kill -9) cannot end its processes. So each of them watches its parent: when that
is gone, it gets SIGTERM, so that it saves and ends, and `--resume` continues it.
"""

from __future__ import annotations

import os
import signal
import threading
import time

POLL_SECONDS = 0.5
# A rank whose peers were killed may wait for them in a collective and never come to save. So it has this time.
PATIENCE_SECONDS = 45.0
_watched: set[int] = set()


def end_with_parent(parent: int, *, patience: float | None = None) -> None:
    """Send SIGTERM to this process when its parent is no longer the process `parent`, from a thread; nothing is done
    the second time. `patience`: the seconds after which it is ended (exit code 143) if it still runs; None: never."""
    if parent in _watched:
        return
    _watched.add(parent)
    threading.Thread(target=_end_with, args=(parent, patience), name="parent", daemon=True).start()


def _end_with(parent: int, patience: float | None) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    if patience is not None:
        time.sleep(patience)
        os._exit(128 + signal.SIGTERM)
