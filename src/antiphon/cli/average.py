"""`antiphon average`: one model from a run's last snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from antiphon.cli.command import Command
from antiphon.cli.flags import Flag, Positional
from antiphon.settings import Count


@dataclass(frozen=True, kw_only=True)
class Average(Command):
    """Average the weights of a run's last snapshots into a model folder."""

    run_folder: Annotated[str, Positional("RUN")]
    """The run folder."""
    last: Count
    """The number of snapshots, from the newest."""
    output: Annotated[str, Flag("DIR")]
    """The model folder to create; it must not exist."""

    def run(self) -> int:
        self.start()
        from antiphon.workflows import average_run

        average_run(self.run_folder, last=self.last, output=self.output)
        self.say(f"antiphon: the model is in {self.output}")
        return 0
