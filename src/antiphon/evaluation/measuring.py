"""Measures answers against references, whoever made them: a model, another toolkit, a file.

>>> report = measure_answers(["in 3 Stunden"], [("in 3 hours", "in 3 Stunden")], ["exact_match"])
>>> report["exact_match"].score
100.0

`evaluate` is generation and then this; `comparing` builds on the same checks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from antiphon.display import clock
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.groups import Grouped, grouped
from antiphon.evaluation.metrics import Metric, know_labels, measure, parse_metrics
from antiphon.evaluation.result import MetricResult
from antiphon.evaluation.shown import page
from antiphon.generation.answers import Generation
from antiphon.registry import names
from antiphon.settings import show

Pair = tuple[Any, str | Sequence[str]] | Mapping[str, Any]  # the source may be sound for a speech model


@dataclass(frozen=True)
class Report(Mapping[str, MetricResult]):
    """The metrics by name, with the sources, references and answers in the order of the pairs.

    `answers` are the model's `Generation`s; those of texts that were given have no tokens, and their score and
    confidence are NaN. `seconds` is the time of generation, None for texts that were given. `grouped` has the metrics
    of each group and their means, if `groups` were given.
    """

    metrics: dict[str, MetricResult]
    sources: list[Any] = field(repr=False)
    references: list[list[str]] = field(repr=False)
    answers: list[Generation] = field(repr=False)
    seconds: float | None
    grouped: Grouped | None = None

    def __getitem__(self, name: str) -> MetricResult:
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {result.score:.2f}" for name, result in self.metrics.items())
        groups = "" if self.grouped is None else f", {len(self.grouped.groups)} groups"
        time = "" if self.seconds is None else f", answered in {clock(self.seconds)}"
        return f"Report({scores}; {len(self.sources):,} pairs{groups}{time})"

    @property
    def notes(self) -> list[str]:
        """A note for each metric whose score, of all pairs or of a group, is not meaningful."""
        parts = [self.metrics, *([] if self.grouped is None else self.grouped.groups.values())]
        found = [f"{name}: {result.note}" for part in parts for name, result in part.items() if result.note]
        return list(dict.fromkeys(found))

    def _repr_html_(self) -> str:
        """Metrics, groups and some examples, as HTML for notebooks."""
        return page(self.metrics, self.grouped, self.sources, self.references, self.answers, self.seconds)


def measure_answers(
    answers: Sequence[str | Generation],
    pairs: Iterable[Pair],
    metrics: Sequence[object] | str = ("bleu", "chrf"),
    *,
    groups: Sequence[str] | None = None,
    labels: Sequence[str] = (),
) -> Report:
    """Compute metrics of `answers`, one for each of `pairs` (source, reference or list of references).

    A source may be None if no metric needs it. metrics, groups: as in `evaluate`. labels: those of a classification.
    Raises DataError if the numbers of answers and pairs differ, if there is none, or for a pair without a reference;
    ConfigError for an unknown metric or setting. Warns if a score is not meaningful (`Report.notes`).
    """
    parsed = checked_metrics(metrics, labels)
    sources, references = checked_pairs(pairs, need_sources=False)
    if isinstance(answers, str) or not all(isinstance(answer, str | Generation) for answer in answers):
        raise DataError(f"`answers` must be a list of texts, one for each pair, but is {show(answers)}.")
    if len(answers) != len(sources):
        raise DataError(f"each pair needs its answer, but there are {len(sources)} pairs and {len(answers)} answers.")
    report = measured([as_generation(answer) for answer in answers], sources, references, parsed, groups)
    for line in report.notes:
        warnings.warn(line, stacklevel=2)
    return report


def measured(
    answers: Sequence[Generation],
    sources: Sequence[Any],
    references: list[list[str]],
    metrics: Sequence[Metric],
    groups: Sequence[str] | None,
    seconds: float | None = None,
) -> Report:
    """The report on sides that are checked already."""
    check_groups(groups, len(sources))
    texts = [answer.text for answer in answers]
    known = None if any(source is None for source in sources) else sources
    found = measure(texts, references, metrics, known)
    parts = None if groups is None else grouped(groups, texts, references, metrics, known)
    return Report(found, list(sources), references, list(answers), seconds, parts)


def as_generation(answer: str | Generation) -> Generation:
    """An answer of which only the text is known."""
    return Generation(answer, [], math.nan, math.nan, True) if isinstance(answer, str) else answer


def checked_metrics(metrics: Sequence[object] | str, labels: Sequence[str] = ()) -> list[Metric]:
    """The parsed metrics, at least one; `labels`: those of a classification. Raises ConfigError."""
    named = [metrics] if isinstance(metrics, str | Mapping | Metric) else metrics
    parsed = know_labels(parse_metrics(named), labels)
    if not parsed:
        raise ConfigError(f"an evaluation needs at least one metric ({', '.join(names('metric'))}), but there is none.")
    return parsed


def checked_pairs(pairs: Iterable[Pair], *, need_sources: bool = True) -> tuple[list[Any], list[list[str]]]:
    """The sources of `pairs` and the references of each. Raises DataError, which names the pair."""
    if not isinstance(pairs, Iterable) or isinstance(pairs, str | Mapping):
        raise DataError(f"`pairs` must be pairs (source, reference), but is {show(pairs)}.")
    sources: list[Any] = []
    references: list[list[str]] = []
    for number, pair in enumerate(pairs):
        source, texts = _sides(pair, number, need_sources=need_sources)
        sources.append(source)
        references.append(texts)
    if not sources:
        raise DataError("an evaluation needs at least one pair, but there is none.")
    return sources, references


def check_groups(groups: Sequence[str] | None, count: int) -> None:
    """DataError unless `groups` has a name for each of `count` pairs."""
    if groups is not None and len(groups) != count:
        raise DataError(f"`groups` must name the group of each pair, but has {len(groups)} names for {count} pairs.")


def _sides(pair: object, number: int, *, need_sources: bool) -> tuple[Any, list[str]]:
    """The source of a pair and its references; DataError, which names the pair, if it is not a pair."""
    found = pair
    if isinstance(found, Mapping) and set(found) == {"source", "target"}:
        found = (found["source"], found["target"])
    if isinstance(found, list | tuple) and len(found) == 2:
        source, reference = found
        texts = list(reference) if isinstance(reference, list | tuple) else [reference]
        there = source is not None or not need_sources
        if there and texts and all(isinstance(text, str) for text in texts):
            return source, texts
    raise DataError(
        f"a pair must be a source and its reference, a text or several in a list, but is {pair!r:.80} "
        f"(pairs[{number}]). Add the reference, or drop the pair."
    )
