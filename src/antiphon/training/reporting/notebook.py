"""The display of a run in a notebook (Jupyter or marimo): one output that is updated in place.

    output = notebook_output()                      # None outside of notebooks
    display = NotebookDisplay(output, total_steps=8000)

Neither library is imported here; inside a notebook it is in `sys.modules` already.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from antiphon.display import Markup, bar, clock, details, fixed, line_chart, note, panel, table
from antiphon.training.reporting.rows import POSITION_KEYS, MetricRows

MIN_SECONDS = 0.4  # between two updates
OPEN_MESSAGES = 8  # the latest messages, shown unfolded
MAX_MESSAGES = 100
MAX_CURVE_ROWS = 400


class Output(Protocol):
    """An output of a notebook cell whose content can be replaced."""

    def show(self, page: str, line: str) -> None:
        """Show the HTML `page`, or `line` where only plain text can be shown."""
        ...


class Jupyter:
    """An IPython display: created at the first update, then replaced."""

    def __init__(self, display: Any) -> None:
        self._display, self._handle = display, None

    def show(self, page: str, line: str) -> None:
        content = {"text/html": page, "text/plain": line}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


class Marimo:
    """The output of the running cell in marimo."""

    def __init__(self, marimo: Any) -> None:
        self._marimo = marimo

    def show(self, page: str, line: str) -> None:
        self._marimo.output.replace(self._marimo.Html(page))


def notebook_output() -> Output | None:
    """The output of the running notebook; None outside of notebooks and in IPython's terminal."""
    marimo = sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        return Marimo(marimo)
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if ipython is None or getattr(shell, "kernel", None) is None:
        return None
    return Jupyter(ipython.display.display)


class NotebookDisplay:
    """Shows a run in one output: a progress bar, the last figures, a curve of the loss, and messages.

    The rows of `metrics.jsonl` give the curve and the last validation.
    """

    def __init__(self, output: Output, total_steps: int | None) -> None:
        self.output, self.total = output, total_steps
        self.step = 0
        self.rows = MetricRows()
        self.messages: list[str] = []
        self.closed = False
        self._drawn = -MIN_SECONDS

    def begin(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add the earlier rows of a resumed run, so that its curve is complete."""
        for row in rows:
            self._take(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of figures and update the output."""
        self._take(row)
        self._draw()

    def _take(self, row: Mapping[str, Any]) -> None:
        if self.rows and row["step"] < self.rows[-1]["step"]:
            self.rows.clear()  # a new run
        self.rows.append(dict(row))
        alike = [other for other in self.rows if ("loss" in other) == ("loss" in row)]
        if len(alike) > MAX_CURVE_ROWS:  # drop every second row of this kind (training or validation), never the last
            gone = set(map(id, alike[-2::-2]))
            self.rows[:] = [other for other in self.rows if id(other) not in gone]
        self.step = row["step"]

    def say(self, line: str) -> None:
        self.messages = [*self.messages, line][-MAX_MESSAGES:]
        self._draw()

    def tick(self, step: int) -> None:
        self.step = step
        self._draw()

    def progress(self, row: Mapping[str, Any], note: str) -> None:
        self.step = row["step"]
        self._draw()

    def close(self) -> None:
        """Show the final state."""
        if not self.closed:
            self.closed = True
            self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if self.closed or now - self._drawn >= MIN_SECONDS:
            self._drawn = now
            self.output.show(self.page(), self.line())

    def line(self) -> str:
        """The state as one line of text."""
        return "  ".join([f"step {self.step:,}{self._of()}", *(f"{name} {value}" for name, value in self._figures())])

    def page(self) -> str:
        """The state as HTML."""
        parts: list[Markup] = [] if self.closed and self._share() is None else [bar(self._share())]
        figures = self._figures()
        if figures:
            parts.append(table([name for name, _ in figures], [[value for _, value in figures]]))
        if self.rows:
            losses = {name: points for name in ("loss", "valid_loss") if (points := self.rows.curve(name))}
            if losses:
                parts.append(line_chart(losses, title="nats a token"))
        if earlier := self.messages[:-OPEN_MESSAGES]:
            parts.append(details(f"{len(earlier)} earlier messages", *map(note, earlier)))
        parts += [note(line) for line in self.messages[-OPEN_MESSAGES:-1]]
        parts += [note(line, strong=self.closed) for line in self.messages[-1:]]  # why it ended, and how to continue
        return panel(f"step {self.step:,}{self._of()}", *parts)

    def _of(self) -> str:
        return "" if self.total is None else f" of {self.total:,}"

    def _share(self) -> float | None:
        """The fraction of the run that is done, by steps or else by time; None if neither is known."""
        if self.total:
            return self.step / self.total
        left, past = self.rows.last("seconds_left"), self.rows.last("time_seconds")
        return None if left is None or not past else past / (past + max(left, 0.0))

    def _figures(self) -> list[tuple[str, str]]:
        rows = self.rows
        found = [
            ("epoch", fixed(rows.last("epoch"), 2)),
            ("loss", fixed(rows.last("loss"))),
            ("tokens/s", fixed(rows.last("tokens_per_second"), 0)),
        ]
        if rows.last("time_seconds") is not None:
            found.append(("time", clock(rows.last("time_seconds"))))
        if not self.closed and rows.last("seconds_left") is not None:
            found.append(("left", clock(max(rows.last("seconds_left"), 0.0))))
        validation = next((row for row in reversed(rows) if "loss" not in row), None)
        if validation is not None:
            measured = {name: value for name, value in validation.items() if name not in POSITION_KEYS}
            messages = ", ".join(f"{name} {fixed(value)}" for name, value in measured.items())
            found.append(("last validation", f"step {validation['step']:,}: {messages}"))
        return [(name, value) for name, value in found if value]
