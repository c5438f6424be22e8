"""A page beside a training, in a process of its own, so that its readers take no time from the training.

with WatchProcess([Path("runs/a")]) as page:
    page.state        # "http://127.0.0.1:6007/ shows the run while it trains"
    ...               # train; the run may be made later
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path


class WatchProcess:
    """A page of `folders` as a context. It ends with the context, or with this process, however that ends."""

    def __init__(self, folders: Sequence[Path]) -> None:
        # Its standard input is a pipe, whose end tells it that this process has ended.
        command = [sys.executable, "-m", "antiphon.watching", *map(str, folders)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @cached_property
    def state(self) -> str:
        """Where the page is, or why there is none, as a message. Waits for the start of the process."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if answer.startswith("http://"):
            return f"{answer} shows the run while it trains"
        return f"there is no page: {answer or f'its process ended with {self._process.wait()}'}"

    def __enter__(self) -> WatchProcess:
        return self

    def __exit__(self, *error: object) -> None:
        # Not awaited: while a browser shows the page, the process goes on for a few seconds, so that it reads the end.
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
