"""The result of a sweep: its table, its picture, the verdict, and the best setting as a recipe.

result = antiphon.sweep("sweep.yaml")
result.best.params, result.verdict, result.table
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antiphon.models.folders.checkpoint import replace_file
from antiphon.sweeps.comparison import Verdict, judge
from antiphon.sweeps.definition import Definition
from antiphon.sweeps.importance import importance_of
from antiphon.sweeps.page import page, picture, shown
from antiphon.sweeps.results import FAILED_STATE, SettingResult, finished, study_settings
from antiphon.sweeps.rows import table_rows, text_rows
from antiphon.sweeps.runs import recipe_text
from antiphon.sweeps.table import as_table

if TYPE_CHECKING:
    import optuna

TABLE, PAGE, PICTURE, BEST = "sweep.json", "sweep.html", "sweep.svg", "best.yaml"


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found. `settings`: the finished ones first, best first; `metric`: its name, and whether lower is
    better; `importance`: how much each key matters, largest first, by `method`."""

    definition: Definition
    metric: tuple[str, bool]
    settings: Sequence[SettingResult]
    verdict: Verdict
    importance: Mapping[str, float]
    method: str

    @property
    def best(self) -> SettingResult | None:
        """The finished setting with the best mean; None if none has finished."""
        return next(iter(finished(self.settings)), None)

    @property
    def failed(self) -> list[SettingResult]:
        """The settings with a run that failed; one that diverged is none of them."""
        return [setting for setting in self.settings if setting.state == FAILED_STATE]

    @property
    def best_recipe(self) -> Path | None:
        """The file of the best setting as a recipe; None if none has finished."""
        return None if self.best is None else self.definition.folder / BEST

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row of figures for each setting."""
        return table_rows(self.settings, self.metric[0], self.verdict)

    @property
    def table(self) -> str:
        """The rows as a Markdown table."""
        return self.fitted()

    def fitted(self, width: int | None = None) -> str:
        """The rows as a Markdown table for a terminal of `width` columns; None: in one piece."""
        return as_table(text_rows(self.rows, self.metric[0]), width=width)

    @property
    def counts(self) -> str:
        """How many settings and runs there are, by state."""
        states = [setting.state for setting in self.settings]
        parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        runs = sum(len(one.runs) for one in self.settings)
        return f"{_count(len(states), 'setting')} ({', '.join(parts)}), {_count(runs, 'run')}"

    def __repr__(self) -> str:
        return f"SweepResult({self.definition.name!r}: {self.counts}; {self.verdict.text})"

    def _repr_html_(self) -> str:
        return shown(self)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "name": self.definition.name,
            "metric": self.metric[0],
            "lower_is_better": self.metric[1],
            "verdict": self.verdict.as_json(),
            "importance": {"method": self.method, **self.importance},
            "settings": self.rows,
        }


def make_result(
    study: optuna.Study, definition: Definition, metric: tuple[str, bool], *, write: bool = False
) -> SweepResult:
    """The result of a study so far. `write`: into the folder of the sweep, as JSON, HTML, SVG and the best recipe."""
    settings = study_settings(study, lower_is_better=metric[1])
    verdict = judge(settings, definition, metric)
    method, importance = importance_of(study, definition, settings)
    result = SweepResult(definition, metric, settings, verdict, importance, method)
    if write:
        save(result)
    return result


def save(result: SweepResult) -> None:
    """Write the files of a result into the folder of its sweep."""
    folder = result.definition.folder
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result.as_json(), indent=1, ensure_ascii=False) + "\n"
    replace_file(folder / TABLE, text.encode())
    replace_file(folder / PAGE, page(result).encode("utf-8", "backslashreplace"))
    replace_file(folder / PICTURE, picture(result).encode("utf-8", "backslashreplace"))
    if result.best is not None:
        replace_file(folder / BEST, best_recipe(result).encode())


def best_recipe(result: SweepResult) -> str:
    """The recipe of the best setting, with the verdict as a comment."""
    best, definition = result.best, result.definition
    assert best is not None
    note = f"The best setting of the sweep {definition.path}: {best}.\n{result.verdict.text}"
    output = str(definition.folder / "best")
    return recipe_text(definition, best.params, note=note, output=output)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
