"""The report of a run: one self-contained HTML file, and a model card for the hub.

report = antiphon.report("runs/demo")        # shows itself in a notebook
report.save("report.html"), report.save_card("runs/demo/model/README.md")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from antiphon.errors import AntiphonError, DiskError, argument, one_line
from antiphon.evaluation.metrics import Metric
from antiphon.generation.load import load
from antiphon.generation.model import Model
from antiphon.models.folders.files import replace_file
from antiphon.reports.attention_maps import DrawnMap, draw_maps
from antiphon.reports.card import card_text, is_own_card
from antiphon.reports.contents import RunContents, read_contents
from antiphon.reports.page import notebook_page, page
from antiphon.reports.results import RunResults, results_of
from antiphon.reports.run_file import read_run_file, write_run_file

REPORT, CARD = "report.html", "README.md"


class RunLike(Protocol):
    """A run, as `antiphon.train` returns it."""

    @property
    def folder(self) -> Path: ...


@dataclass(frozen=True)
class RunReport:
    """The report of a run: `run` are its files, `results` what its answers say, `maps` some attention maps.

    `no_maps` is the reason if there are none, or fewer than examples.
    """

    run: RunContents
    results: RunResults
    maps: list[DrawnMap]
    no_maps: str = ""

    @cached_property
    def html(self) -> str:
        """The page: one file without scripts and requests."""
        return page(self.run, self.results, self.maps, self.no_maps)

    @cached_property
    def card(self) -> str:
        """The model card: Markdown with the hub's front matter."""
        return card_text(self.run, self.results)

    def save(self, file: str | Path) -> Path:
        """Write the page to `file`. DiskError if it cannot be written."""
        return _written(Path(file), self.html)

    def save_card(self, file: str | Path) -> Path | None:
        """Write the model card to `file`. A card that somebody has edited is left as it is; None is returned then."""
        file = Path(file)
        if file.exists() and not is_own_card(file.read_text(encoding="utf-8", errors="replace")):
            return None
        return _written(file, self.card)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {result.score:.2f}" for name, result in self.results.measured.items())
        return f"RunReport({str(self.run.folder)!r}: {self.run.state}{'; ' if scores else ''}{scores})"

    def _repr_html_(self) -> str:
        """The page's contents for notebooks."""
        return notebook_page(self.run, self.results, self.maps, self.no_maps)


def report(run: str | Path | RunLike) -> RunReport:
    """The report of a run: its folder, or what `antiphon.train` returned.

    It may be running, finished, copied from another machine, or without snapshots. Metrics of the recipe that are
    registered in this process are computed again, for their intervals; no code that the folder names is imported. The
    model, if there is one, draws a few attention maps. ModelError if it is no run folder.
    """
    contents = read_contents(run if isinstance(run, str | Path) else run.folder)
    results = results_of(contents)
    try:
        model = None if contents.model_folder is None else load(contents.model_folder, device="cpu")
    except AntiphonError as error:  # damaged, or with parts that this process does not know
        return RunReport(contents, results, [], str(error))
    maps, reason = draw_maps(model if isinstance(model, Model) else None, results.examples)
    return RunReport(contents, results, maps, reason)


def write_report(made: RunReport, *, output: str | Path | None = None, say: Callable[[str], None]) -> Path:
    """Write a report (default: `report.html` in the run folder), and the card beside the model.

    DiskError if the report cannot be written.
    """
    folder = made.run.folder
    if made.run.model_folder is not None:
        card = made.run.model_folder / CARD
        if made.save_card(card) is None:
            say(f"`{card}` has been edited and stays as it is; the new card would be `antiphon.report(run).card`")
    recorded = read_run_file(folder)
    if recorded and made.results.measured and not made.run.running:
        try:
            write_run_file(folder, {**recorded, "results": made.results.as_json()})
        except OSError as error:
            raise _not_written(folder, error) from error
    return made.save(folder / REPORT if output is None else output)


def write_end_report(
    folder: Path, recipe: Mapping[str, Any], *, model: Model, metrics: Sequence[Metric], say: Callable[[str], None]
) -> Path | None:
    """Write the report at the end of a run, whose `recipe`, `model` and `metrics` are in memory. Returns its file.

    Nothing that goes wrong here fails the run: it is said in one line, and the result is None.
    """
    try:
        contents = read_contents(folder, running=False, recipe=recipe)
        results = results_of(contents, metrics)
        maps, reason = draw_maps(model, results.examples)
        return write_report(RunReport(contents, results, maps, reason), say=say)
    except Exception as error:  # a custom metric, a full disk, a text that nobody expected
        what = f"{type(error).__name__}: {one_line(error)}".rstrip(".")
        say(f"the report was not written ({what}); the run is complete. Try again: antiphon report {folder}")
        return None


def _written(file: Path, text: str) -> Path:
    try:
        replace_file(file, text.encode("utf-8", "replace"))
    except OSError as error:
        raise _not_written(file, error) from error
    return file


def _not_written(file: Path, error: OSError) -> DiskError:
    where = argument("output", flag="--output")
    return DiskError(f"`{file}` cannot be written ({error.strerror}). Choose another {where}, or free space.")
