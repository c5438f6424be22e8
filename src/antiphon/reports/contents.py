"""The files of a run folder, read for a report: whatever is there, of a running, finished, copied or empty run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from antiphon.errors import ModelError, UsageError
from antiphon.models.folders.files import read_json
from antiphon.models.folders.stored import WEIGHTS
from antiphon.recipe import read_yaml
from antiphon.reports.answers import ValidAnswer, read_answers
from antiphon.reports.run_file import read_run_file
from antiphon.training.lock import is_locked
from antiphon.training.reporting.record import read_rows
from antiphon.training.reporting.rows import MetricRows, Row

CONFIG = "config.yaml"


@dataclass(frozen=True)
class RunContents:
    """A run folder. `recipe` is its config.yaml as plain values, `recorded` its run.json, `ended` why it ended.

    `state` is "running", "finished", "stopped" (it can be resumed), or "empty" (there is no figure yet).
    """

    folder: Path
    recipe: Mapping[str, Any]
    recipe_text: str
    rows: MetricRows
    answers: list[ValidAnswer]
    recorded: Mapping[str, Any]
    running: bool

    @property
    def name(self) -> str:
        """The name of the run: that of its folder."""
        return self.folder.resolve().name

    @property
    def model_folder(self) -> Path | None:
        """The folder of the run's model; None if there is none yet."""
        folder = self.folder / "model"
        return folder if (folder / WEIGHTS).is_file() else None

    @property
    def starts(self) -> list[Mapping[str, Any]]:
        """The starts of the run that run.json has: the first one and each resume."""
        found = self.recorded.get("starts")
        return [start for start in found if isinstance(start, Mapping)] if isinstance(found, list) else []

    @property
    def ended(self) -> str | None:
        """Why training ended; None if it did not, or if this is not recorded."""
        return str(self.starts[-1]["ended"]) if self.starts and self.starts[-1].get("ended") else None

    @property
    def state(self) -> str:
        """running, finished, stopped or empty."""
        if self.running:
            return "running"
        if self.ended is not None:
            return "finished"
        return "stopped" if self.rows else "empty"

    @property
    def task(self) -> str:
        """The name of the run's task."""
        return str(self.recipe.get("task", "text"))

    @property
    def labels(self) -> list[str]:
        """The labels of a classification, by their names in answers."""
        if self.model_folder is None:
            return []
        try:
            labels = read_json(self.model_folder / "task.json").get("labels")
        except ModelError:
            return []
        return sorted(set(map(str, labels.values()))) if isinstance(labels, Mapping) else []

    @property
    def validations(self) -> list[Row]:
        """The rows of validations, those of averaged weights included."""
        return [row for row in self.rows if isinstance(row.get("valid_loss"), int | float)]

    @cached_property
    def best_row(self) -> Row | None:
        """The row of the validation that the model is from: the step of the answers; without answers the lowest loss.

        If averaged weights were better than the best validation, the row is theirs.
        """
        rows = self.validations
        if not rows:
            return None
        if self.answers:
            at_step = [row for row in rows if row["step"] == self.answers[0].step]
            rows = at_step[-1:] or rows
        return min(rows, key=lambda row: row["valid_loss"])

    def section(self, *names: str) -> Mapping[str, Any]:
        """A section of the recipe, `section("data", "train")`; empty if there is none."""
        found: Any = self.recipe
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}


def read_contents(
    folder: str | Path, *, running: bool | None = None, recipe: Mapping[str, Any] | None = None
) -> RunContents:
    """Read a run folder. `running`: whether the run is being trained; None: ask the folder's lock. `recipe`: the
    contents of its config.yaml, if they are known.

    ModelError if it is no run folder.
    """
    folder = Path(folder)
    file = folder / CONFIG
    if not file.is_file():
        what = "is a file" if folder.is_file() else "has no config.yaml" if folder.is_dir() else "does not exist"
        raise ModelError(f"a report needs the folder of a run, but `{folder}` {what}. Give the folder of a training.")
    try:
        text = file.read_text(encoding="utf-8")
        known = read_yaml(text, str(file))[0] if recipe is None else recipe
    except (OSError, UnicodeDecodeError, UsageError) as error:
        raise ModelError(f"`{file}` must be the recipe of a run, but cannot be read ({error}).") from error
    rows = MetricRows(row for row in read_rows(folder) if isinstance(row.get("step"), int))
    running = is_locked(folder) if running is None else running
    return RunContents(folder, known, text, rows, read_answers(folder), read_run_file(folder), running)
