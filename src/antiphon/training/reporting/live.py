"""The live display in a terminal: a progress line and curves at the bottom, with messages scrolling above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.training.reporting.formats import live_line
from antiphon.training.reporting.sparkline import Sparklines


class TerminalDisplay:
    """Shows a run in a terminal. Neither line is ever wider than the terminal; the curves remain when the run ends."""

    def __init__(self, total_steps: int | None) -> None:
        from rich.console import Console
        from rich.live import Live as Redrawn

        self.total, self.step, self.row, self.note = total_steps, 0, {}, ""
        self.curves = Sparklines()
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.line = Redrawn(console=self.console, get_renderable=self._lines, transient=True, refresh_per_second=4)

    def begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.curves.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        self.curves.add(row)

    def say(self, line: str) -> None:
        self.console.print(line)  # wraps between words

    def tick(self, step: int) -> None:
        self.step = step
        if not self.line.is_started:  # only now, so that a run that fails before its first step leaves no line
            self.line.start()

    def progress(self, row: Mapping[str, Any], note: str) -> None:
        self.row, self.note = dict(row), note

    def close(self) -> None:
        if self.line.is_started:
            self.line.stop()
            if curves := self.curves.line(self.console.width - 1):
                self.console.print(curves, no_wrap=True, overflow="crop")

    def _lines(self) -> Any:
        from rich.text import Text

        width = self.console.width - 1  # the last column makes some terminals wrap
        lines = [live_line(self.step, self.total, self.row, self.note, width), self.curves.line(width)]
        return Text("\n".join(filter(None, lines)), no_wrap=True, overflow="crop")
