"""`antiphon evaluate`: a model's answers measured against references."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from antiphon.cli.command import Command, import_modules, with_seed
from antiphon.cli.flags import Flag, Positional
from antiphon.cli.generate import SEARCH
from antiphon.cli.streams import lines, output
from antiphon.errors import DataError, UsageError

if TYPE_CHECKING:
    from antiphon.evaluation.evaluate import Report
    from antiphon.generation.model import Model

Pairs = list[tuple[str, Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Answer the sources of a test set and measure the answers against its references.

    A metric may have settings: --metrics bleu:tokenize=none,chrf:word_order=2 (tokenize=none is for texts that are
    tokenized already). Each score comes with its 95 % interval (a bootstrap over the pairs) and a signature of all that
    was chosen.
    """

    model: Annotated[str, Positional("MODEL")]
    """A run folder or a model folder."""
    source: Annotated[str | None, Flag("FILE")] = None
    """Lines to answer, also .gz."""
    target: Annotated[tuple[str, ...], Flag("FILE", default="repeatable: several references")] = ()
    """Their references, line by line, also .gz."""
    data: Annotated[str | None, Flag("FILE")] = None
    """In place of the two: a .tsv, .csv or .jsonl of pairs, also .gz."""
    source_field: Annotated[str | None, Flag("NAME", default="source")] = None
    """The column or key of --data with the source."""
    target_field: Annotated[str | None, Flag("NAME", default="target")] = None
    """The column or key of --data with the reference."""
    metrics: Annotated[str, Flag("LIST")] = "bleu,chrf"
    """bleu, chrf, ter, exact_match, separated by commas."""
    output: Annotated[str | None, Flag("FILE", default="not kept")] = None
    """Where the answers go, line by line."""
    json: bool = False
    """One JSON object instead of a table."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with parts or metrics of your own."""
    search: Annotated[dict[str, Any], SEARCH] = field(default_factory=dict)

    def check(self) -> None:
        files = self.source is not None and bool(self.target)
        if files == (self.data is not None) or (self.data is not None and (self.source is not None or self.target)):
            raise UsageError("evaluate needs either --source and --target, or --data.")
        if self.data is None and (self.source_field or self.target_field):
            raise UsageError("`--source-field` and `--target-field` belong to --data.")
        if self.search.get("n_best", 1) > 1:
            raise UsageError("`--n-best` must be 1 here: one answer of each source is measured.")

    def run(self) -> int:
        import_modules(self.imports)
        device = self.start()
        from antiphon.evaluation.evaluate import evaluate
        from antiphon.evaluation.metrics import parse_metrics
        from antiphon.generation.model import load

        metrics = parse_metrics([name.strip() for name in self.metrics.split(",") if name.strip()])
        model = load(self.model, device=device, dtype=self.dtype)
        report = evaluate(model, self._pairs(model), metrics, **with_seed(self.search, self.seed))
        if self.output is not None:
            with output(self.output, reads=self.source) as writer:
                for answer in report.answers:
                    writer.line(answer.text)
        sys.stdout.write(as_json(report) if self.json else as_table(report))
        return 0

    def _pairs(self, model: Model) -> Pairs:
        if self.data is None:
            assert self.source is not None
            return aligned(self.source, self.target)
        from antiphon.config import SourceConfig
        from antiphon.data.sources import records
        from antiphon.text import load_task

        source = SourceConfig(path=self.data, source_field=self.source_field, target_field=self.target_field)
        return [(one, [other]) for one, other, _ in records(source, load_task(model.parts.task, allow_import=False))]


def aligned(source: str, targets: Sequence[str]) -> Pairs:
    """Each line of `source` with the same line of every target; DataError with both counts where one is longer."""
    sources, sides = list(lines(source)), [list(lines(target)) for target in targets]
    for target, side in zip(targets, sides, strict=True):
        if len(side) != len(sources):
            raise DataError(
                f"source and target must have the same number of lines, but `{source}` has {len(sources)} "
                f"and `{target}` has {len(side)}. Align them line by line."
            )
    if not sources:
        raise DataError(f"a test set must hold at least one line, but `{source}` is empty.")
    return list(zip(sources, zip(*sides, strict=True), strict=True))


def as_table(report: Report) -> str:
    """Name, score, interval and signature of each metric, aligned, one a line."""
    width = max(map(len, report))
    rows = []
    for name, result in report.items():
        interval = f"[{result.interval.low:.2f}, {result.interval.high:.2f}]" if result.interval else ""
        rows.append(f"{name:<{width}}  {result.score:6.2f}  {interval:<16}  {result.signature}".rstrip())
    return "\n".join(rows) + "\n"


def as_json(report: Report) -> str:
    """The report as one JSON object on one line."""
    metrics = {
        name: {"score": result.score, "interval": result.interval, "signature": result.signature}
        for name, result in report.items()
    }
    return (
        json.dumps({"segments": len(report.answers), "seconds": report.seconds, "metrics": metrics}, ensure_ascii=False)
        + "\n"
    )
