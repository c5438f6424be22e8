"""`antiphon evaluate`: measures a model's answers against references."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from antiphon.cli.command import Command, columns, import_modules, with_seed
from antiphon.cli.flags import Flag, Positional
from antiphon.cli.generate import SEARCH
from antiphon.cli.scores import as_json, as_table
from antiphon.cli.streams import lines, output
from antiphon.config import SourceConfig
from antiphon.errors import DataError, UsageError
from antiphon.settings import CountOrZero

if TYPE_CHECKING:
    from antiphon.generation.translator import Translator
    from antiphon.text.task import Task

_TAG = re.compile(r"<([^\s<>]+)>")


class TestExample(NamedTuple):
    """A source with all its references, its file, and its location there."""

    source: str
    references: Sequence[str]
    file: str
    place: str


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
    """The file for the answers, line by line."""
    json: bool = False
    """One JSON object instead of a table."""
    quantize: Literal["int8"] | None = None
    """Quantize the weights to eight bits, as in `antiphon generate`."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with custom parts or metrics."""
    search: Annotated[dict[str, Any], SEARCH] = field(default_factory=dict)

    def check(self) -> None:
        files = self.source is not None or bool(self.target)
        if (files and (self.source is None or not self.target)) or (files and self.data):
            raise UsageError("evaluate needs either --source and --target, or --data.")
        if not self.data and (self.source_field is not None or self.target_field is not None):
            raise UsageError("`--source-field` and `--target-field` belong to --data.")
        if self.search.get("n_best", 1) > 1:
            raise UsageError("`--n-best` must be 1 here: one answer of each source is measured.")

    def run(self) -> int:
        import_modules(self.imports)
        data, metrics = self._asked()
        device = self.start(quantize=self.quantize)
        from antiphon.evaluation.evaluate import evaluate
        from antiphon.evaluation.metrics import parse_metrics
        from antiphon.generation.load import load

        metrics = parse_metrics(metrics)
        model = load(self.model, device=device, dtype=self.dtype, quantize=self.quantize)
        cases = self._cases(data, model)
        report = evaluate(
            model,
            [(case.source, case.references) for case in cases],
            metrics,
            groups=_groups(cases, self.by) if self.by else None,
            **with_seed(self.search, self.seed),
        )
        if self.output is not None:
            with output(self.output, reads=self._read(data)) as writer:
                for answer in report.answers:
                    writer.line(answer.text)
        sys.stdout.write(as_json(report) if self.json else as_table(report, by=self.by or "", width=columns()))
        return 0

    def _asked(self) -> tuple[tuple[SourceConfig, ...], list[Any]]:
        """The tables to evaluate (empty: --source and --target), and the metrics as given."""
        from antiphon.recipe import read_yaml

        metrics: list[Any] | None = None
        if self.metrics is not None and self.metrics.lstrip().startswith("["):
            metrics = read_yaml(f"metrics: {self.metrics}", "--metrics")[0]["metrics"]
        elif self.metrics is not None:
            metrics = [name.strip() for name in self.metrics.split(",") if name.strip()]
        if self.source is None and not self.data:
            data, known = recipe_of(self.model)
            return data, known if metrics is None else metrics
        given = [source for text in self.data for source in self._table(text)]
        return tuple(given), ["bleu", "chrf"] if metrics is None else metrics

    def _table(self, text: str) -> tuple[SourceConfig, ...]:
        """The sources of a --data flag."""
        from antiphon.recipe import read_yaml

        fields: dict[str, Any] = {"source_field": self.source_field, "target_field": self.target_field}
        if not text.lstrip().startswith(("{", "[")):
            return (SourceConfig(path=text, **fields),)
        made = _sources(read_yaml(f"data: {text}", "--data")[0]["data"], "--data")
        return tuple(
            replace(one, **{key: value for key, value in fields.items() if getattr(one, key) is None}) for one in made
        )

    def _cases(self, data: tuple[SourceConfig, ...], model: Translator) -> list[TestExample]:
        from antiphon.data.sources import cases
        from antiphon.text import load_task

        if self.source is not None:
            pairs = aligned(self.source, self.target)
            found = [TestExample(*pair, self.source, f"{self.source}:{number}") for number, pair in enumerate(pairs, 1)]
            # References are used as they are, except in tasks that change the target.
            if not model.labels and model.task != "right_to_left":
                return found
            task = load_task(model.task, allow_import=False, labels=model.label_texts)
            return [case._replace(references=_written(case, task)) for case in found]
        task = load_task(model.task, allow_import=False, labels=model.label_texts)
        return [
            TestExample(source, references, one.title, str(place))
            for one in data
            for source, references, place in cases(one, task)
        ]

    def _read(self, data: tuple[SourceConfig, ...]) -> str | None:
        """An input file that the answers would overwrite, if any."""
        files = [file for one in data for file in one.files] or [str(self.source)]
        there = [Path(file) for file in files if Path(file).exists()]
        mine = Path(str(self.output))
        return next((str(file) for file in there if mine.exists() and mine.samefile(file)), None)


def recipe_of(model: str) -> tuple[tuple[SourceConfig, ...], list[Any]]:
    """The test set and the metrics in the recipe of a run; UsageError if it has no test set."""
    from antiphon.recipe import read_yaml

    options = "Give --source and --target, or --data."
    files = [folder / "config.yaml" for folder in (Path(model), Path(model).parent)]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise UsageError(f"evaluate needs a test set, but `{model}` is no run folder with a recipe. {options}")
    # Only parts of the recipe are read: its training data may no longer exist, or never have been a file.
    recipe, _ = read_yaml(file.read_text(encoding="utf-8"), str(file))
    data, validation = recipe.get("data"), recipe.get("validation")
    test = data.get("test") if isinstance(data, dict) else None
    if test is None or isinstance(test, str):
        raise UsageError(f"evaluate needs a test set, but the run's recipe has no `data.test` (`{file}`). {options}")
    metrics = validation.get("metrics") if isinstance(validation, dict) else None
    return _sources(test, str(file)), metrics if isinstance(metrics, list) and metrics else ["bleu", "chrf"]


def aligned(source: str, targets: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """Each line of `source` with the same line of every target; DataError, with both counts, if lengths differ."""
    from antiphon.data.lines import check_same_length

    sources, sides = list(lines(source)), [list(lines(target)) for target in targets]
    for target, side in zip(targets, sides, strict=True):
        check_same_length(source, target, len(sources), len(side))
    if not sources:
        raise DataError(f"a test set must hold at least one line, but `{source}` is empty.")
    return list(zip(sources, zip(*sides, strict=True), strict=True))


def _written(case: TestExample, task: Task) -> list[str]:
    """The references as the task makes them (a label by its name); DataError for an unknown label."""
    pairs = [task.pair({"source": case.source, "target": text}, where=case.place) for text in case.references]
    return [target for _, target in pairs if target is not None]


def _sources(value: Any, where: str) -> tuple[SourceConfig, ...]:
    """Parse files as in a recipe: one, or a list."""
    from antiphon.config import DataConfig, source_list
    from antiphon.settings import SettingError

    try:
        return source_list(DataConfig(train=value).train)
    except SettingError as error:  # remove `train`, which the user did not write, from the message
        raise SettingError(error.path[1:], error.problem, hint=error.hint, remedy=error.remedy, where=where) from None


def _groups(cases: Sequence[TestExample], by: str) -> list[str]:
    """The name of the group of each case; DataError for a source without a tag."""
    if by == "file":
        files = dict.fromkeys(case.file for case in cases)
        short = {file: Path(file).name for file in files}
        alone = len(set(short.values())) == len(files)
        return [short[case.file] if alone else case.file for case in cases]
    names = []
    for case in cases:
        found = _TAG.match(case.source)
        if found is None:
            raise DataError(
                f"with `--by tag` each source must begin with a tag such as <fre>, but this one is "
                f"`{case.source:.40}` ({case.place}). Give the data with its tag: --data '{{path: FILE, tag: fre}}'."
            )
        names.append(found[1])
    return names
