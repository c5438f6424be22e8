"""`antiphon evaluate`: measures a model's answers against references."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from antiphon.bulk.shards import is_many
from antiphon.cli.bulk import OnRowFailure, aligned_shards, check_few, check_many, run_command, source_shards
from antiphon.cli.command import Command, columns, import_modules, with_seed
from antiphon.cli.flags import Flag, Positional
from antiphon.cli.generate import SEARCH
from antiphon.cli.scores import as_json, as_table
from antiphon.cli.streams import lines, output
from antiphon.config import SourceConfig
from antiphon.errors import UsageError
from antiphon.settings import Count, CountOrZero

if TYPE_CHECKING:
    from antiphon.evaluation.test_set import TestExample
    from antiphon.generation.translator import Translator


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Answer the sources of a test set and measure the answers against its references.

    Given only a run folder, the test set and the metrics are those of its recipe (data.test, validation.metrics). A
    metric may have settings: --metrics bleu:tokenize=none,chrf:word_order=2 (tokenize=none is for texts that are
    tokenized already). Each score has a 95 % confidence interval (a bootstrap over the pairs) and a signature of all
    its settings. --by tag or --by file adds the scores of each language or file, and their macro means.
    """

    model: Annotated[str, Positional("MODEL")]
    """A run folder or a model folder."""
    source: Annotated[str | None, Flag("FILE")] = None
    """Lines to answer, also .gz."""
    target: Annotated[tuple[str, ...], Flag("FILE", default="repeatable: several references")] = ()
    """Their references, line by line, also .gz."""
    data: Annotated[tuple[str, ...], Flag("FILE", default="repeatable")] = ()
    """Instead of the two: a table of pairs, such as a .tsv; or as in a recipe, "{path: fre.tsv, tag: fre}"."""
    source_field: Annotated[CountOrZero | str | None, Flag("NAME", default="source")] = None
    """The column or key of --data with the source."""
    target_field: Annotated[CountOrZero | str | None, Flag("NAME", default="target")] = None
    """The column or key of --data with the reference, or with a list of them."""
    by: Literal["tag", "file"] | None = None
    """Also the scores of each tag that sources begin with, such as <fre>, or of each file; and their macro means."""
    metrics: Annotated[str | None, Flag("LIST", default="the recipe's, or bleu,chrf")] = None
    """Separated by commas: bleu, chrf, ter, rouge1, rouge2, rougeL, rougeLsum, exact_match, error_rate, wer, cer, per,
    accuracy, macro_f1, confusion, comet; or a list as in a recipe."""
    output: Annotated[str | None, Flag("FILE", default="not kept")] = None
    """The file for the answers, line by line; with --processes the folder for them."""
    processes: Annotated[Count | None, Flag("N")] = None
    """Answer many files, such as --data "test/*.jsonl", on several processes, restartable (see `generate`)."""
    failures: Annotated[OnRowFailure | None, Flag(default="error")] = None
    """With --processes: a row that cannot be read or answered ends the job, or is recorded and counts as empty."""
    block_rows: Annotated[Count | None, Flag("N", default="4096")] = None
    """With --processes: the most rows that are answered together, and again after the job was killed."""
    resume: bool = False
    """With --processes: continue the job in --output, or begin it."""
    json: bool = False
    """One JSON object instead of a table."""
    quantize: Literal["int8"] | None = None
    """Quantize the weights to eight bits, as in `antiphon generate`."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with custom parts or metrics."""
    search: Annotated[dict[str, Any], SEARCH] = field(default_factory=dict)

    @property
    def many(self) -> bool:
        """Whether the answers are computed into a folder."""
        files = [file for file in (self.source, *self.target, *self.data) if file is not None]
        return self.processes is not None or any(is_many(file) for file in files)

    def check(self) -> None:
        files = self.source is not None or bool(self.target)
        if (files and (self.source is None or not self.target)) or (files and self.data):
            raise UsageError("evaluate needs either --source and --target, or --data.")
        if not self.data and (self.source_field is not None or self.target_field is not None):
            raise UsageError("`--source-field` and `--target-field` belong to --data.")
        if self.many:
            check_many([], self.output)
        else:
            check_few(self, resume=True)
        if self.search.get("n_best", 1) > 1:
            raise UsageError("`--n-best` must be 1 here: one answer of each source is measured.")

    def run(self) -> int:
        import_modules(self.imports)
        data, metrics = self._asked()
        if self.many:
            return self._evaluate_many(data, metrics)
        device = self.start(quantize=self.quantize)
        from antiphon.evaluation.evaluate import evaluate
        from antiphon.evaluation.metrics import parse_metrics
        from antiphon.evaluation.test_set import names_of_files, tags_of
        from antiphon.generation.load import load

        metrics = parse_metrics(metrics)
        model = load(self.model, device=device, dtype=self.dtype, quantize=self.quantize)
        examples = self._examples(data, model)
        groups = {"tag": tags_of, "file": names_of_files}[self.by](examples) if self.by else None
        report = evaluate(
            model,
            [(one.source, one.references) for one in examples],
            metrics,
            groups=groups,
            **with_seed(self.search, self.seed),
        )
        if self.output is not None:
            with output(self.output, reads=self._read(data)) as writer:
                for answer in report.answers:
                    writer.line(answer.text)
        sys.stdout.write(as_json(report) if self.json else as_table(report, by=self.by or "", width=columns()))
        return 0

    def _evaluate_many(self, data: tuple[SourceConfig, ...], metrics: list[Any]) -> int:
        from antiphon.bulk.evaluating import labels_of, measured_cases
        from antiphon.evaluation.measuring import checked_metrics

        parsed = checked_metrics(metrics, labels_of(self.model))  # before anything is computed
        aligned = self.source is not None
        shards = aligned_shards(str(self.source), self.target, suffix=".jsonl") if aligned else source_shards(data)
        job = {
            "task": "evaluate",
            "shards": tuple(shards),
            "models": (self.model,),
            "search": with_seed(self.search, self.seed),
            "quantize": self.quantize,
        }
        made, totals = run_command(self, job)
        report = measured_cases(made, Path(str(self.output)), parsed, by=self.by, seconds=totals.seconds)
        sys.stdout.write(as_json(report) if self.json else as_table(report, by=self.by or "", width=columns()))
        return 0

    def _asked(self) -> tuple[tuple[SourceConfig, ...], list[Any]]:
        """The tables to evaluate (empty: --source and --target), and the metrics as given."""
        from antiphon.evaluation.test_set import DEFAULT_METRICS, of_recipe, table

        metrics = metrics_flag(self.metrics)
        if self.source is None and not self.data:
            data, known = of_recipe(self.model)
            return data, known if metrics is None else metrics
        fields = {"source_field": self.source_field, "target_field": self.target_field}
        given = [one for text in self.data for one in table(text, fields=fields)]
        return tuple(given), list(DEFAULT_METRICS) if metrics is None else metrics

    def _examples(self, data: tuple[SourceConfig, ...], model: Translator) -> list[TestExample]:
        from antiphon.evaluation.test_set import from_files, from_tables, task_of

        if self.source is None:
            return from_tables(data, task_of(model))
        return from_files(self.source, self.target, model=model, read=lines)

    def _read(self, data: tuple[SourceConfig, ...]) -> str | None:
        """An input file that the answers would overwrite, if any."""
        files = [file for one in data for file in one.files] or [str(self.source)]
        there = [Path(file) for file in files if Path(file).exists()]
        mine = Path(str(self.output))
        return next((str(file) for file in there if mine.exists() and mine.samefile(file)), None)


def metrics_flag(text: str | None) -> list[Any] | None:
    """The metrics of a `--metrics` flag, separated by commas or a list as in a recipe; None if it was not given."""
    from antiphon.recipe import read_yaml

    if text is None:
        return None
    if text.lstrip().startswith("["):
        return read_yaml(f"metrics: {text}", "--metrics")[0]["metrics"]
    return [name.strip() for name in text.split(",") if name.strip()]
