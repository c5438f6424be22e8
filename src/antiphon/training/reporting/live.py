"""The live display in a terminal: a progress line at the bottom, with messages scrolling above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.training.reporting.formats import live_line


class TerminalDisplay:
    """Shows a run in a terminal. The progress line is never wider than the terminal."""

    def __init__(self, total_steps: int | None) -> None:
        from rich.console import Console
        from rich.live import Live as Redrawn

        self.total, self.step, self.row, self.note = total_steps, 0, {}, ""
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.line = Redrawn(console=self.console, get_renderable=self._line, transient=True, refresh_per_second=4)

    def say(self, line: str) -> None:
        self.console.print(line)  # wraps between words

    def tick(self, step: int) -> None:
        self.step = step
        if not self.line.is_started:  # only now, so that a run that fails before its first step leaves no line
            self.line.start()

    def progress(self, row: Mapping[str, Any], note: str) -> None:
        self.row, self.note = dict(row), note

    def close(self) -> None:
        self.line.stop()

    def _line(self) -> Any:
        from rich.text import Text

        width = self.console.width - 1  # the last column makes some terminals wrap
        line = live_line(self.step, self.total, self.row, self.note, width)
        return Text(line, no_wrap=True, overflow="crop")
