"""Evaluates a model: generates answers to the sources of pairs and measures them against the references.

>>> report = evaluate(model, [("in 3 hours", "in 3 Stunden")], metrics=["bleu", "chrf"])    # doctest: +SKIP
>>> report["bleu"].score, report["bleu"].signature, report["bleu"].interval                # doctest: +SKIP
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from antiphon.display import clock
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.groups import Grouped, grouped
from antiphon.evaluation.metrics import know_labels, measure, parse_metrics
from antiphon.evaluation.result import MetricResult
from antiphon.evaluation.shown import page
from antiphon.generation.answers import Generation
from antiphon.generation.translator import Translator
from antiphon.registry import names
from antiphon.settings import show

Pair = tuple[Any, str | Sequence[str]] | Mapping[str, Any]  # the source may be sound for a speech model


@dataclass(frozen=True)
class Report(Mapping[str, MetricResult]):
    """The metrics by name, with the sources, references and answers in the order of the pairs.

    `seconds` is the time of generation; `answers` are the model's `Generation`s. `grouped` has the metrics of each
    group and their means, if `groups` were given.
    """

    metrics: dict[str, MetricResult]
    sources: list[str] = field(repr=False)
    references: list[list[str]] = field(repr=False)
    answers: list[Generation] = field(repr=False)
    seconds: float
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
        return f"Report({scores}; {len(self.sources):,} pairs{groups}, answered in {clock(self.seconds)})"

    @property
    def notes(self) -> list[str]:
        """A note for each metric whose score, of all pairs or of a group, is not meaningful."""
        parts = [self.metrics, *([] if self.grouped is None else self.grouped.groups.values())]
        found = [f"{name}: {result.note}" for part in parts for name, result in part.items() if result.note]
        return list(dict.fromkeys(found))

    def _repr_html_(self) -> str:
        """Metrics, groups and some examples, as HTML for notebooks."""
        return page(self.metrics, self.grouped, self.sources, self.references, self.answers, self.seconds)


def evaluate(
    model: Translator,
    pairs: Iterable[Pair],
    metrics: Sequence[object] | str = ("bleu", "chrf"),
    *,
    groups: Sequence[str] | None = None,
    **search: Any,
) -> Report:
    """Generate `model`'s answers to `pairs` (source, reference or list of references) and compute metrics.

    metrics: names, or mappings {name: settings}, for example {"bleu": {"tokenize": "none"}}; or a single one. groups:
    the name of the group of each pair (a language, a file), for scores of each group and their macro means. search:
    settings of `Model.generate`; the others come from the model's `generation.json`. A pair may be a mapping with
    `source` and `target`. Raises DataError if there is no pair, or one without a reference, and ConfigError for an
    unknown metric or setting (both before anything is generated). Warns if a score is not meaningful (`Report.notes`).
    """
    if isinstance(model, str | os.PathLike):
        raise ConfigError(f"`model` must be a model, but is {show(model)}. Load it: antiphon.load(folder).")
    if not isinstance(pairs, Iterable) or isinstance(pairs, str | Mapping):
        raise DataError(f"`pairs` must be pairs (source, reference), but is {show(pairs)}.")
    named = [metrics] if isinstance(metrics, str | Mapping) else metrics
    parsed = know_labels(parse_metrics(named), model.labels)
    if not parsed:
        raise ConfigError(f"an evaluation needs at least one metric ({', '.join(names('metric'))}), but there is none.")
    sources: list[str] = []
    references: list[list[str]] = []
    for number, pair in enumerate(pairs):
        source, texts = _sides(pair, number)
        sources.append(source)
        references.append(texts)
    if not sources:
        raise DataError("an evaluation needs at least one pair, but there is none.")
    if groups is not None and len(groups) != len(sources):
        raise DataError(
            f"`groups` must name the group of each pair, but has {len(groups)} names for {len(sources)} pairs."
        )
    began = time.perf_counter()
    answers = model.generate(sources, **search)
    seconds = time.perf_counter() - began
    texts = [answer.text for answer in answers]
    measured = measure(texts, references, parsed, sources)
    parts = None if groups is None else grouped(groups, texts, references, parsed, sources)
    report = Report(measured, sources, references, answers, seconds, parts)
    for line in report.notes:
        warnings.warn(line, stacklevel=2)
    return report


def _sides(pair: object, number: int) -> tuple[Any, list[str]]:
    """The source of a pair and its references; DataError, which names the pair, if it is not a pair."""
    found = pair
    if isinstance(found, Mapping) and set(found) == {"source", "target"}:
        found = (found["source"], found["target"])
    if isinstance(found, list | tuple) and len(found) == 2:
        source, reference = found
        texts = list(reference) if isinstance(reference, list | tuple) else [reference]
        if source is not None and texts and all(isinstance(text, str) for text in texts):
            return source, texts
    raise DataError(
        f"a pair must be a source and its reference, a text or several in a list, but is {pair!r:.80} "
        f"(pairs[{number}]). Add the reference, or drop the pair."
    )
