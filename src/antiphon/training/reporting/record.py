"""The log of a run: `metrics.jsonl`, `samples.jsonl`, and a display (a live line in a terminal, else plain lines).

record = RunLog(folder, display=make_display(total_steps=8000))
record.measure({"step": 50, "loss": 3.2})
record.validation({"step": 500, "valid_loss": 2.1}, [Sample("in 3 hours", "in 3 Stunden", "in 3 Stunden")])
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from antiphon.display import clock
from antiphon.durable import sync_file, sync_folder
from antiphon.errors import DataError, DiskError, argument, printable
from antiphon.training.reporting.formats import figures, sample_line, terminal_width
from antiphon.training.reporting.live import TerminalDisplay
from antiphon.training.reporting.notebook import NotebookDisplay, notebook_output

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"
SAMPLES_SHOWN = 2  # samples displayed at each validation; all are in samples.jsonl


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer of a validation with its source and reference."""

    source: str
    reference: str
    answer: str


class Display(Protocol):
    """The display of a run. `begin` receives the earlier rows of a resumed run, `add` each row that is logged."""

    def begin(self, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def add(self, row: Mapping[str, Any]) -> None: ...
    def say(self, line: str) -> None: ...
    def tick(self, step: int) -> None: ...
    def progress(self, row: Mapping[str, Any], note: str) -> None: ...
    def close(self) -> None: ...


Reporter = Callable[[Mapping[str, Any]], None]  # called with each row of metrics.jsonl when it is written


class RunLog:
    """The two log files of a run, and its display. Resuming truncates the files to their size at the snapshot."""

    def __init__(self, folder: Path, display: Display, *, reporters: Sequence[Reporter] = ()) -> None:
        self.folder, self.display, self.reporters = folder, display, reporters
        self.note = ""

    def measure(self, row: Mapping[str, Any]) -> None:
        """Write and display a row of training figures."""
        self._row(row)
        self.display.progress(row, self.note)

    def validation(self, row: Mapping[str, Any], samples: Sequence[Sample]) -> None:
        """Write and display a row of validation figures and sample answers."""
        self._row(row)
        self._append(SAMPLES, [{"step": row["step"], **asdict(sample)} for sample in samples])
        shown = "  ".join(
            f"{key} {value:.3f}" for key, value in row.items() if key not in ("step", "epoch", "time_seconds")
        )
        self.note = shown
        self.display.say(f"step {row['step']}  validation: {shown}")
        width = terminal_width()
        for sample in samples[:SAMPLES_SHOWN]:
            self.display.say(sample_line(sample.source, sample.answer, sample.reference, width))

    def note_row(self, row: Mapping[str, Any]) -> None:
        """Write a row that was displayed already."""
        self._row(row)

    def say(self, line: str) -> None:
        """Display a message that is not written to a file."""
        self.display.say(line)

    def offsets(self) -> dict[str, int]:
        """The sizes of the files, for a snapshot."""
        return {name: self._size(name) for name in (METRICS, SAMPLES)}

    def sync(self) -> None:
        """Sync the files to disk, before a snapshot refers to their sizes."""
        try:
            for name in (METRICS, SAMPLES):
                sync_file(self.folder / name)
            sync_folder(self.folder)
        except OSError as error:
            raise DiskError(
                f"the logs in `{self.folder}` cannot be written ({error.strerror}). Free space, then continue with "
                f"{argument('resume=True', flag='--resume')}."
            ) from error

    def cut(self, offsets: Mapping[str, int]) -> None:
        """Truncate the files to `offsets`, their sizes at a snapshot: later rows will be written again."""
        for name, size in offsets.items():
            if self._size(name) > size:
                os.truncate(self.folder / name, size)
            elif self._size(name) < size:
                self.say(f"`{self.folder / name}` is shorter than it was at the snapshot: rows are missing from it.")
                _cut_to_whole_lines(self.folder / name)

    def _row(self, row: Mapping[str, Any]) -> None:
        self._append(METRICS, [row])
        self.display.add(row)
        for report in self.reporters:
            report(row)

    def _size(self, name: str) -> int:
        file = self.folder / name
        return file.stat().st_size if file.exists() else 0

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        try:
            with (self.folder / name).open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        except OSError as error:
            raise DiskError(
                f"`{self.folder / name}` cannot be written ({error.strerror}). Free space, then continue with "
                f"{argument('resume=True', flag='--resume')}."
            ) from error


class MutedLog(RunLog):
    """The log of a rank other than 0: it writes nothing, and reads no file."""

    def sync(self) -> None:
        """Nothing is written."""

    def cut(self, offsets: Mapping[str, int]) -> None:
        """Nothing is written."""

    def offsets(self) -> dict[str, int]:
        return {METRICS: 0, SAMPLES: 0}

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...


def _cut_to_whole_lines(file: Path) -> None:
    if file.exists():
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.jsonl`; an empty list if there is no such file.

    A last line that is being written, or whose writing was interrupted, is left out. DataError for any other line that
    is no JSON object with a `step`.
    """
    try:
        lines = (folder / METRICS).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = parse_row(line)
        if row is not None:
            rows.append(row)
        elif number < len(lines):  # the last piece has no line end
            raise DataError(
                f"line {number} of `{folder / METRICS}` must be a JSON object with a `step`, but is "
                f"`{printable(line[:60].decode(errors='replace'))}`. Remove this line, or copy the log again."
            )
    return rows


def parse_row(line: bytes) -> dict[str, Any] | None:
    """The row of figures in a line of `metrics.jsonl`; None if the line is no JSON object with a number `step`."""
    try:
        row = json.loads(line)
    except ValueError:  # also wrong UTF-8
        return None
    known = isinstance(row, dict) and isinstance(row.get("step"), int | float)
    return row if known else None


class _NoRows:
    """A display that makes no use of the rows."""

    def begin(self, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def add(self, row: Mapping[str, Any]) -> None: ...


class LineDisplay(_NoRows):
    """Plain lines on a stream, for logs."""

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    def progress(self, row: Mapping[str, Any], note: str) -> None:
        left = f"  {clock(row['seconds_left'])} left" if row.get("seconds_left") is not None else ""
        self.say(f"step {row['step']}  epoch {row['epoch']}  {figures(row)}{left}")

    def tick(self, step: int) -> None: ...
    def close(self) -> None: ...


class SilentDisplay(_NoRows):
    """Shows nothing."""

    def say(self, line: str) -> None: ...
    def tick(self, step: int) -> None: ...
    def progress(self, row: Mapping[str, Any], note: str) -> None: ...
    def close(self) -> None: ...


def make_display(*, total_steps: int | None, quiet: bool = False) -> Display:
    """The display for this process: notebook output, live line if stderr is a terminal, else plain lines; none if
    `quiet`."""
    if quiet:
        return SilentDisplay()
    if (output := notebook_output()) is not None:
        return NotebookDisplay(output, total_steps)
    return TerminalDisplay(total_steps) if sys.stderr.isatty() else LineDisplay()
