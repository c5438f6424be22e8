"""The result of a sweep: its table, its picture, the verdict, and the best setting as a recipe.

result = antiphon.sweep("sweep.yaml")
result.best.params, result.verdict, result.table
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from antiphon.models.folders.checkpoint import replace_file
from antiphon.sweeps.comparison import judge
from antiphon.sweeps.definition import Definition
from antiphon.sweeps.figures import BEST, SweepFigures
from antiphon.sweeps.importance import importance_of
from antiphon.sweeps.page import page, picture, shown
from antiphon.sweeps.results import study_settings
from antiphon.sweeps.runs import recipe_text

if TYPE_CHECKING:
    import optuna

TABLE, PAGE, PICTURE = "sweep.json", "sweep.html", "sweep.svg"


@dataclass(frozen=True)
class SweepResult(SweepFigures):
    """What a sweep found; in a notebook it shows itself."""

    def __repr__(self) -> str:
        return f"SweepResult({self.definition.name!r}: {self.counts}; {self.verdict.text})"

    def _repr_html_(self) -> str:
        return shown(self)


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
