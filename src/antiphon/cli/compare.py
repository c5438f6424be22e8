"""`antiphon compare`: which of several models or files of answers is better, and whether that is chance."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from antiphon.cli.command import Command, columns, import_modules, with_seed
from antiphon.cli.evaluate import metrics_flag
from antiphon.cli.flags import Flag, Positional
from antiphon.cli.generate import SEARCH
from antiphon.cli.streams import lines, output
from antiphon.errors import DataError, UsageError
from antiphon.settings import Count, CountOrZero

if TYPE_CHECKING:
    from antiphon.config import SourceConfig
    from antiphon.evaluation.comparing import Comparison
    from antiphon.evaluation.test_set import TestExample
    from antiphon.generation.translator import Translator

_TEXTS = (".txt", ".gz", ".zst", ".out", ".hyp")  # what does not exist and ends so is a file, not a hub id


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Compare models, or files of their answers, on one test set: scores, significance, groups and examples.

    Each difference has its 95 % interval (a paired bootstrap) and p (approximate randomisation, as sacreBLEU's
    --paired-ar), corrected by Holm for the number of pairs. Below are the segments on which each system is better, by
    length, rare words and tag, and those that differ most, with the differing words in brackets. Models answer one
    after the other, each with its own search settings. Given only run folders, the test set and the metrics are those
    of their recipes.
    """

    systems: Annotated[tuple[str, ...], Positional("SYSTEM ...")]
    """Two or more: run folders, model folders, or files of answers, one a line, also .gz."""
    source: Annotated[str | None, Flag("FILE")] = None
    """Lines to answer, also .gz; files of answers do without, unless a metric needs it."""
    target: Annotated[tuple[str, ...], Flag("FILE", default="repeatable: several references")] = ()
    """The references, line by line, also .gz."""
    data: Annotated[tuple[str, ...], Flag("FILE", default="repeatable")] = ()
    """Instead of the two: a table of pairs, such as a .tsv; or as in a recipe, "{path: fre.tsv, tag: fre}"."""
    source_field: Annotated[CountOrZero | str | None, Flag("NAME", default="source")] = None
    """The column or key of --data with the source."""
    target_field: Annotated[CountOrZero | str | None, Flag("NAME", default="target")] = None
    """The column or key of --data with the reference, or with a list of them."""
    metrics: Annotated[str | None, Flag("LIST", default="the recipe's, or bleu,chrf")] = None
    """As in `antiphon evaluate`. Single segments are compared by the first one."""
    tags: Annotated[str | None, Flag("FILE", default="those that sources begin with")] = None
    """A tag for each line, such as its language or domain, for the scores by tag."""
    training: Annotated[tuple[str, ...], Flag("FILE", default="repeatable")] = ()
    """Targets of the training data, in which words of the references are rare or not; without, in the references."""
    samples: Count = 1000
    """Samples of the paired bootstrap."""
    trials: Count = 10_000
    """Trials of approximate randomisation."""
    examples: CountOrZero = 3
    """Segments to show in favour of each system."""
    json: bool = False
    """One JSON object instead of a table."""
    html: Annotated[str | None, Flag("FILE", default="none")] = None
    """Write a page, too, which needs no other file."""
    quantize: Literal["int8"] | None = None
    """Quantize the weights to eight bits, as in `antiphon generate`."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with custom parts or metrics."""
    search: Annotated[dict[str, Any], SEARCH] = field(default_factory=dict)

    def check(self) -> None:
        if len(self.systems) < 2:
            raise UsageError(f"compare needs at least 2 systems, but has {len(self.systems)}.")
        if self.data and (self.source is not None or self.target):
            raise UsageError("compare needs either --target (and --source for models), or --data.")
        if self.source is not None and not self.target:
            raise UsageError("compare needs the references of --source. Give --target.")
        if not self.data and (self.source_field is not None or self.target_field is not None):
            raise UsageError("`--source-field` and `--target-field` belong to --data.")
        if self.search.get("n_best", 1) > 1:
            raise UsageError("`--n-best` must be 1 here: one answer of each source is measured.")
        twice = _same(self.systems)
        if twice is not None:
            raise UsageError(f"each system must be given once, but `{twice[0]}` and `{twice[1]}` are the same.")

    def run(self) -> int:
        import_modules(self.imports)
        places = dict(zip(_names(self.systems), self.systems, strict=True))
        models = [name for name, place in places.items() if not _is_file(place)]
        if models and self.target and self.source is None:
            raise UsageError(f"a model needs sources to answer (`{places[models[0]]}`). Give --source.")
        data, given = self._asked([places[name] for name in models])
        answers = {name: list(lines(place)) for name, place in places.items() if name not in models}
        device = self.start(quantize=self.quantize) if models else ""
        from antiphon.evaluation.comparing import compare
        from antiphon.evaluation.metrics import know_labels, parse_metrics

        metrics = parse_metrics(given)
        first = self._load(places[models[0]], device) if models else None
        examples = self._examples(data, first)
        for name, texts in answers.items():
            _check_length(places[name], len(texts), examples)
        metrics = know_labels(metrics, first.labels if first is not None else ())
        for name in models:
            model, first = first or self._load(places[name], device), None
            self.say(f"{name}: answering {len(examples):,} sources")
            search = with_seed(self.search, self.seed)
            answers[name] = [answer.text for answer in model.generate([one.source for one in examples], **search)]
            del model  # one model at a time is in memory
        comparison = compare(
            {name: answers[name] for name in places},
            [list(one.references) for one in examples],
            None if examples[0].source is None else [one.source for one in examples],
            metrics,
            tags=self._tags(len(examples)),
            training=(line for file in self.training for line in lines(file)) if self.training else None,
            samples=self.samples,
            trials=self.trials,
        )
        self._write(comparison)
        return 0

    def _asked(self, models: Sequence[str]) -> tuple[tuple[SourceConfig, ...], list[Any]]:
        """The tables of the test set (empty: --source and --target), and the metrics as given."""
        from antiphon.evaluation.test_set import DEFAULT_METRICS, of_recipe, table

        metrics = metrics_flag(self.metrics)
        if not self.target and not self.data:
            if not models:
                raise UsageError("compare needs the references of the answers. Give --target, or --data.")
            data, known = of_recipe(models[0], command="compare")
            for other in models[1:]:
                if of_recipe(other, command="compare")[0] != data:
                    raise UsageError(
                        f"the recipes of `{models[0]}` and `{other}` have different test sets (`data.test`). Give "
                        "--source and --target, or --data."
                    )
            return data, known if metrics is None else metrics
        fields = {"source_field": self.source_field, "target_field": self.target_field}
        given = [one for text in self.data for one in table(text, fields=fields)]
        return tuple(given), list(DEFAULT_METRICS) if metrics is None else metrics

    def _examples(self, data: tuple[SourceConfig, ...], model: Translator | None) -> list[TestExample]:
        from antiphon.evaluation.test_set import from_files, from_tables, task_of
        from antiphon.text import load_task

        if self.target:
            return from_files(self.source, self.target, model=model, read=lines)
        return from_tables(data, load_task("translation") if model is None else task_of(model))

    def _load(self, place: str, device: str) -> Translator:
        from antiphon.generation.load import load

        return load(place, device=device, dtype=self.dtype, quantize=self.quantize)

    def _tags(self, count: int) -> list[str] | None:
        if self.tags is None:
            return None
        found = list(lines(self.tags))
        if len(found) != count:
            raise DataError(
                f"`{self.tags}` must have a tag for each of the {count} lines of the test set, but has {len(found)}."
            )
        return found

    def _write(self, comparison: Comparison) -> None:
        """Write the page, if it is asked for, and the table or JSON."""
        if self.html is not None:
            with output(self.html) as writer:
                writer.write(comparison.to_html())
            self.say(f"the page is `{self.html}`")
        if self.json:
            sys.stdout.write(comparison.as_json(examples=self.examples))
            return
        from antiphon.evaluation.comparing.terminal import WIDTH, as_text

        sys.stdout.write(as_text(comparison, width=min(columns() or WIDTH, WIDTH), examples=self.examples))


def _is_file(place: str) -> bool:
    """Whether a system is a file of answers; UsageError for a file that is not there."""
    path = Path(place)
    if place == "-" or (path.exists() and not path.is_dir()):
        return True
    if path.name.endswith(_TEXTS) and not path.exists():
        raise UsageError(f"`{place}` must be a file of answers, or a model, but is not there.")
    return False


def _names(places: Sequence[str]) -> list[str]:
    """A name of each system: that of its file or folder (for `runs/base/model` base), or its path if two have one."""

    def short(place: str) -> str:
        path = Path(place)
        return path.parent.name if path.name == "model" and path.parent.name else path.name or place

    names = [short(place) for place in places]
    return [place if names.count(name) > 1 else name for place, name in zip(places, names, strict=True)]


def _same(places: Sequence[str]) -> tuple[str, str] | None:
    """Two systems that are one file or folder."""
    known: dict[Path, str] = {}
    for place in places:
        path = Path(place).resolve()
        if path in known:
            return known[path], place
        known[path] = place
    return None


def _check_length(place: str, count: int, examples: Sequence[TestExample]) -> None:
    """DataError unless a file of answers has as many lines as the test set."""
    if not count:
        raise DataError(f"a file of answers must have one for each of {len(examples)} lines, but `{place}` is empty.")
    if count != len(examples):
        raise DataError(
            f"a file of answers must have as many lines as the test set, but `{place}` has {count} and "
            f"`{examples[0].file}` has {len(examples)}."
        )
