"""`antiphon score`: the log-probabilities of given targets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Annotated

from antiphon.bulk.shards import is_many
from antiphon.cli.bulk import OnRowFailure, aligned_shards, are_many, check_few, check_many, pair_shards, run_command
from antiphon.cli.command import Command, import_modules
from antiphon.cli.flags import Flag, Positional
from antiphon.cli.streams import MOST_LINES, lines, output
from antiphon.errors import DataError, UsageError
from antiphon.settings import Count, CountOrZero


@dataclass(frozen=True, kw_only=True)
class Score(Command):
    """Print the log-probability of each target given its source, one a line: in nats, summed over tokens and end.

    Many files (globs or @LIST in --source and --target, or tables as --input) are scored into the folder --output, a
    file each, on --processes processes. Such a job can be killed at any moment: the same command with --resume
    continues it.
    """

    model: Annotated[str, Positional("MODEL")]
    """A run folder or a model folder."""
    source: Annotated[str | None, Flag("FILE")] = None
    """Lines of sources, also .gz; one of the two sides may be -, standard input."""
    target: Annotated[str | None, Flag("FILE")] = None
    """Their targets, line by line."""
    inputs: Annotated[tuple[str, ...], Flag("FILE", name="input", default="repeatable")] = ()
    """Instead of the two: tables with both (.csv, .tsv, .jsonl, .parquet), also globs in quotes, or @LIST. Each row is
    written with all its columns and its score."""
    source_field: Annotated[CountOrZero | str | None, Flag("NAME", default="source")] = None
    """The column or key of --input with the source."""
    target_field: Annotated[CountOrZero | str | None, Flag("NAME", default="target")] = None
    """The column or key of --input with the target."""
    output: Annotated[str, Flag("FILE")] = "-"
    """The file for the scores; - is standard output. The folder for those of many files, or of --input."""
    processes: Annotated[Count | None, Flag("N", default="1")] = None
    """Score many files on several processes."""
    failures: Annotated[OnRowFailure | None, Flag(default="error")] = None
    """Of many files: a row that cannot be read or scored ends the job, or is recorded in the folder failures/ of
    --output and has no score."""
    block_rows: Annotated[Count | None, Flag("N", default="4096")] = None
    """Of many files: the most rows that are scored together, and again after the job was killed."""
    resume: bool = False
    """Of many files: continue the job in --output, or begin it."""
    json: bool = False
    """One JSON object a line."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with custom parts that the model needs."""

    @property
    def many(self) -> bool:
        """Whether scores are computed into a folder."""
        if self.inputs or self.processes is not None:
            return True
        return are_many([str(self.source)], self.output) or is_many(str(self.target))

    def check(self) -> None:
        files = self.source is not None or self.target is not None
        if files == bool(self.inputs) or (self.source is None) != (self.target is None):
            raise UsageError("score needs either --source and --target, or --input.")
        if not self.inputs and (self.source_field is not None or self.target_field is not None):
            raise UsageError("`--source-field` and `--target-field` belong to --input.")
        if self.many:
            check_many([*self.inputs, *(side for side in (self.source, self.target) if side)], self.output)
        else:
            check_few(self, resume=True)
        if self.source == self.target == "-":
            raise UsageError("only one of `--source` and `--target` can be standard input, but both are.")

    def _score_many(self) -> int:
        pairs = self.source is not None and self.target is not None
        suffix = ".jsonl" if self.json else None
        job = {
            "task": "score",
            "shards": tuple(
                aligned_shards(str(self.source), [str(self.target)], suffix=suffix)
                if pairs
                else pair_shards(self.inputs, details=self.json)
            ),
            "models": (self.model,),
            "source_field": self.source_field,
            "target_field": self.target_field,
            "added_field": "score",
            "details": self.json and pairs,
        }
        run_command(self, job)
        return 0

    def run(self) -> int:
        from antiphon.config import SourceConfig
        from antiphon.data.sources import check_files

        if self.many:
            import_modules(self.imports)
            return self._score_many()
        assert self.source is not None and self.target is not None
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
        assert self.source is not None and self.target is not None
        # Not check_same_length, as for files: one side is standard input, whose end nobody may wait for.
        for number, (source, target) in enumerate(zip_longest(lines(self.source), lines(self.target)), 1):
            if source is None or target is None:
                ended, other = (self.source, self.target) if source is None else (self.target, self.source)
                raise DataError(
                    f"source and target must have the same number of lines, but `{ended}` ends before line {number} "
                    f"of `{other}`."
                )
            yield source, target
