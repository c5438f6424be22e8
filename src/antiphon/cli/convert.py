"""`antiphon convert`: converts an old checkpoint with pickled weights to safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from antiphon.cli.command import Command
from antiphon.cli.flags import Positional
from antiphon.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Convert(Command):
    """Convert a checkpoint that only has pytorch_model.bin to a folder with safetensors files."""

    folder: Annotated[str, Positional("FOLDER")]
    """The folder of the checkpoint."""
    output: Annotated[str, Positional("DIR")]
    """The folder to create; it must not exist."""
    allow_pickle: bool = False
    """Read the pickle, in a separate process that is restricted to tensors; required."""

    def run(self) -> int:
        if not self.allow_pickle:
            raise UsageError(
                f"`--allow-pickle` must be given to convert `{self.folder}`: its weights are a pickle, a format that "
                "can run code. Give it where you trust who made the file."
            )
        from antiphon.models.folders.pickled import convert_pickled

        convert_pickled(self.folder, self.output)
        self.say(f"antiphon: the checkpoint is in {self.output}")
        return 0
