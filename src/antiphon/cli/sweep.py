"""`antiphon sweep`: trains a recipe with many settings and says which is better."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated

from antiphon.cli.command import Command, columns, import_modules
from antiphon.cli.flags import Flag, Positional
from antiphon.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sweep(Command):
    """Train a recipe with many settings, by a grid, at random or by a Bayesian search, and compare the results.

    The folder of the sweep gets the study, a folder for each trial, the table (sweep.json), a page (sweep.html), a
    picture (sweep.svg), and the best setting as a recipe (best.yaml). Several processes and machines that have the same
    storage share one study.
    """

    sweep: Annotated[str, Positional("SWEEP.yaml")]
    """The sweep: `recipe`, `space`, `search`, `seeds` and so on (docs/sweeps.md)."""
    storage: Annotated[str | None, Flag("URL", default="study.db in the output")] = None
    """Where the study is stored: sqlite:///FILE, journal:FILE (for network file systems), or a URL of SQLAlchemy."""
    resume: bool = False
    """Continue or join a study that exists: interrupted runs go on from their snapshots, failed ones are repeated."""
    output: Annotated[str | None, Flag("FOLDER", default="the sweep's")] = None
    """The folder of the sweep."""
    show: bool = False
    """Run nothing; show what the study has so far."""
    json: bool = False
    """One JSON object instead of a table."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module that registers custom parts."""

    def check(self) -> None:
        if self.seed is not None:
            raise UsageError("`--seed` must be left out: the seeds of the runs are `seeds` of the sweep.")

    def run(self) -> int:
        import_modules(self.imports)
        from antiphon.sweeps.run_sweep import sweep

        result = sweep(
            self.sweep,
            storage=self.storage,
            resume=self.resume,
            output=self.output,
            device=self.device,
            threads=self.threads,
            dtype=self.dtype,
            imports=self.imports,
            show_only=self.show,
            say=self.say,
        )
        if self.json:
            sys.stdout.write(json.dumps(result.as_json(), ensure_ascii=False) + "\n")
            return 0
        sys.stdout.write(result.fitted(columns()))
        sys.stdout.write(f"\n{result.counts}. {result.verdict.text}\n")
        if result.best is not None and not self.show:
            page = result.definition.folder / "sweep.html"
            self.say(f"the best setting is the recipe `{result.best_recipe}`; the page is `{page}`")
        return 1 if result.failed and not self.show else 0
