"""`antiphon report`: one HTML file about a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from antiphon.cli.command import Command, import_modules
from antiphon.cli.flags import Flag, Positional


@dataclass(frozen=True, kw_only=True)
class WriteReport(Command):
    """Write one HTML file about a run, and the card of its model: data, recipe, curves, results, examples, attention,
    cost, and how to reproduce it."""

    run_folder: Annotated[str, Positional("RUN")]
    """The folder of a run, which may still be training."""
    output: Annotated[str | None, Flag("FILE", default="RUN/report.html")] = None
    """The file to write; an existing one is replaced."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module that registers metrics or parts of the model."""

    def run(self) -> int:
        import_modules(self.imports)
        from antiphon.reports.contents import read_contents

        read_contents(self.run_folder)  # a wrong folder is named before anything is loaded
        self.start()
        from antiphon.reports.run_report import report, write_report

        file = write_report(report(self.run_folder), output=self.output, say=self.say)
        self.say(f"antiphon: the report is in {file}")
        return 0
