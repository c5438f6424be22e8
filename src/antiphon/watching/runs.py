"""The runs that a page shows, read in the background while somebody looks.

runs = WatchedRuns([Path("runs")])
runs.start()
runs.summaries()                            # what the list of runs shows
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiphon.training.reporting.record import METRICS, SAMPLES
from antiphon.watching.columns import FigureColumns
from antiphon.watching.discovery import find_runs, named, runs_below
from antiphon.watching.settings import RunSettings
from antiphon.watching.tail import LogTail, read_sample

LARGE_BYTES, SAMPLED_ROWS = 2 << 20, 1000  # a longer log is first shown by a sample of its rows
SECONDS_BETWEEN_READS, SECONDS_BETWEEN_SEARCHES = 1.0, 5.0
SECONDS_AFTER_REQUEST = 15.0  # without a request for this time, nothing is read


@dataclass
class WatchedRun:
    """One run: its figures and samples. `generation` grows when earlier rows were dropped or replaced, so that a page
    reads all of them again."""

    name: str
    folder: Path
    columns: FigureColumns = field(default_factory=FigureColumns)
    samples: list[dict[str, Any]] = field(default_factory=list)
    generation: int = 0
    sample_generation: int = 0
    complete: bool = False
    problem: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._log, self._answers = LogTail(self.folder / METRICS), LogTail(self.folder / SAMPLES)
        self._settings = RunSettings(self.folder)
        self._building: FigureColumns | None = None

    def sample_large_log(self) -> None:
        """Fill the columns with a sample of the rows of a long log, so that there is something to see at once."""
        try:
            if self._log.path.stat().st_size < LARGE_BYTES:
                return
            rows = read_sample(self._log.path, SAMPLED_ROWS)
        except OSError:
            return
        with self.lock:
            self.columns.extend(rows)
            self._building = FigureColumns()

    def read(self) -> bool:
        """Read a part of what is new. Returns whether there is more."""
        try:
            more = self._read_log()
            self._read_samples()
            self.problem = ""
        except FileNotFoundError:
            self.problem = "" if self.folder.is_dir() and not len(self.columns) else "gone"
            self.complete = True
            return False
        except OSError as error:
            self.problem = error.strerror or type(error).__name__
            return False
        return more

    def _read_log(self) -> bool:
        part = self._log.read()
        target = self.columns if self._building is None else self._building
        target = FigureColumns() if part.restarted else target
        with self.lock:
            dropped = target.extend(part.rows)
            if part.restarted and part.more:
                self._building = target  # the old rows are shown until all new ones are read
            elif part.restarted or (self._building is not None and not part.more):
                self.columns, self._building = target, None
                self.generation += 1
            elif dropped and target is self.columns:
                self.generation += 1
            self.complete = self.complete or not part.more
        return part.more

    def _read_samples(self) -> None:
        try:
            part = self._answers.read()
        except FileNotFoundError:
            return
        with self.lock:
            if part.restarted:
                self.samples, self.sample_generation = [], self.sample_generation + 1
            elif part.rows and self.samples and part.rows[0]["step"] < self.samples[-1]["step"]:
                self.samples = [row for row in self.samples if row["step"] < part.rows[0]["step"]]
                self.sample_generation += 1
            self.samples.extend(part.rows)

    def summary(self) -> dict[str, Any]:
        """What the list of runs shows, as JSON values."""
        log = self._log
        with self.lock:
            columns, size = self.columns, max(1, log.size)
            positions = {name: column[-1] if len(column) else None for name, column in columns.positions.items()}
            return {
                "name": self.name,
                "folder": str(self.folder),
                "generation": self.generation,
                "rows": len(columns),
                "figures": list(columns.figures),
                "last": {**columns.last, **positions},
                "samples": len(self.samples),
                "sample_generation": self.sample_generation,
                "read": 1.0 if self.complete else min(1.0, log.offset / size),
                "bad_lines": log.bad_lines,
                "open_line": log.open_bytes > 0 and self.complete,
                "row_seconds": _seconds_between(columns),
                "age_seconds": log.age_seconds,
                "problem": self.problem,
            }

    def settings(self) -> dict[str, str]:
        """The settings of the recipe by dotted name."""
        return self._settings.read()

    def figures(self, names: Sequence[str], *, start: int, generation: int) -> tuple[dict[str, Any], list[bytes]]:
        """The columns of `names` from row `start`, with their description. From the first row, if `generation` is not
        that of the columns. Names that the run does not have are left out."""
        with self.lock:
            columns = self.columns
            known = [name for name in names if name in columns.positions or name in columns.figures]
            start = min(start, len(columns)) if generation == self.generation else 0
            head = {"generation": self.generation, "start": start, "rows": len(columns), "names": known}
            return head, columns.bytes_of(known, start=start)

    def answers(self, *, start: int, generation: int) -> dict[str, Any]:
        """The sample answers from `start` on, or all if `generation` is not theirs."""
        with self.lock:
            start = min(start, len(self.samples)) if generation == self.sample_generation else 0
            return {"generation": self.sample_generation, "start": start, "rows": self.samples[start:]}


def _seconds_between(columns: FigureColumns) -> float | None:
    """The training time between the last two steps that were logged; None before there are two."""
    times = columns.positions["time_seconds"]
    earlier = next((time for time in reversed(times[-5:]) if time < times[-1]), None)
    return None if earlier is None else times[-1] - earlier


class WatchedRuns:
    """All runs of a page, read by a thread. ConfigError for a path without a run, unless runs are `expected` there
    later."""

    def __init__(self, paths: Sequence[Path], *, expected: bool = False) -> None:
        self._paths = list(paths)
        found = named(runs_below(self._paths)) if expected else find_runs(self._paths)
        self._runs = {folder: WatchedRun(name, folder) for name, folder in found.items()}
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._requested, self._asked = time.monotonic(), False
        self._searched = time.monotonic()
        self._thread = threading.Thread(target=self._read, name="antiphon-watch", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        for run in self._runs.values():
            run.sample_large_log()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._wake.set()
        self._thread.join(timeout=10)

    def requested(self) -> None:
        """Somebody looks: read what is new, if nothing was read in the last second."""
        self._requested, self._asked = time.monotonic(), True
        self._wake.set()

    @property
    def is_seen(self) -> bool:
        """Whether a page has asked within the last SECONDS_AFTER_REQUEST."""
        return self._asked and time.monotonic() - self._requested <= SECONDS_AFTER_REQUEST

    def find(self, name: str) -> WatchedRun | None:
        """The run of this name."""
        return next((run for run in self._runs.values() if run.name == name), None)

    @property
    def all(self) -> list[WatchedRun]:
        """The runs in their order."""
        return list(self._runs.values())

    def summaries(self) -> list[dict[str, Any]]:
        """The summaries of all runs."""
        return [run.summary() for run in self.all]

    def _read(self) -> None:
        while not self._stopped.is_set():
            self._search()
            waiting = [run for run in self.all if run.read()]
            while waiting and not self._stopped.is_set():
                waiting = [run for run in waiting if run.read()]
            self._stopped.wait(SECONDS_BETWEEN_READS)
            if time.monotonic() - self._requested > SECONDS_AFTER_REQUEST:
                self._wake.clear()
                self._wake.wait()

    def _search(self) -> None:
        """Add runs that were made below the given folders."""
        if self._runs and time.monotonic() - self._searched < SECONDS_BETWEEN_SEARCHES:
            return
        self._searched = time.monotonic()
        new = [folder for folder in runs_below(self._paths) if folder not in self._runs]
        if new:
            names = {folder: name for name, folder in named([*self._runs, *new]).items()}
            added = {folder: WatchedRun(names[folder], folder) for folder in new}
            taken = {run.name for run in self.all}
            for folder, run in added.items():
                run.name = run.name if run.name not in taken else str(folder)
            self._runs = {**self._runs, **added}
