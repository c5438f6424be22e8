"""`antiphon score`: the log-probabilities of given targets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Annotated

from antiphon.cli.command import Command, import_modules
from antiphon.cli.flags import Flag, Positional
from antiphon.cli.streams import MOST_LINES, lines, output
from antiphon.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class Score(Command):
    """Print the log-probability of each target given its source, one a line: in nats, summed over tokens and end."""

    model: Annotated[str, Positional("MODEL")]
    """A run folder or a model folder."""
    source: Annotated[str, Flag("FILE")]
    """Lines of sources, also .gz; one of the two sides may be -, standard input."""
    target: Annotated[str, Flag("FILE")]
    """Their targets, line by line."""
    output: Annotated[str, Flag("FILE")] = "-"
    """The file for the scores; - is standard output."""
    json: bool = False
    """One JSON object a line."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with custom parts that the model needs."""

    def check(self) -> None:
        if self.source == self.target == "-":
            raise UsageError("only one of `--source` and `--target` can be standard input, but both are.")

    def run(self) -> int:
        from antiphon.config import SourceConfig
        from antiphon.data.sources import check_files

        if "-" not in (self.source, self.target):
            check_files(SourceConfig(source=self.source, target=self.target))  # before anything is written
        import_modules(self.imports)
        device = self.start()
        from antiphon.generation.load import load

        model = load(self.model, device=device, dtype=self.dtype)
        pairs = self._pairs()
        with output(self.output) as writer:
            while chunk := list(islice(pairs, MOST_LINES)):
                for score in model.score([source for source, _ in chunk], [target for _, target in chunk]):
                    writer.line(json.dumps({"score": score}) if self.json else f"{score:.6f}")
                writer.flush()
        return 0

    def _pairs(self) -> Iterator[tuple[str, str]]:
        # Not check_same_length, as for files: one side is standard input, whose end nobody may wait for.
        for number, (source, target) in enumerate(zip_longest(lines(self.source), lines(self.target)), 1):
            if source is None or target is None:
                ended, other = (self.source, self.target) if source is None else (self.target, self.source)
                raise DataError(
                    f"source and target must have the same number of lines, but `{ended}` ends before line {number} "
                    f"of `{other}`."
                )
            yield source, target
