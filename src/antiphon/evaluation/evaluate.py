"""How well a model answers: its answers to the sources of pairs, measured against their references.

>>> report = evaluate(model, [("in 3 hours", "in 3 Stunden")], metrics=["bleu", "chrf"])    # doctest: +SKIP
>>> report["bleu"].score, report["bleu"].signature, report["bleu"].interval                # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.groups import Grouped, grouped
from antiphon.evaluation.metrics import know_labels, measure, parse_metrics
from antiphon.evaluation.result import MetricResult
from antiphon.evaluation.shown import page
from antiphon.generation.model import Generation, Model
from antiphon.registry import names


@dataclass(frozen=True)
class Report(Mapping[str, MetricResult]):
    """The metrics by name, and what they were computed from, in the order of the pairs.

    `seconds` is the time spent on the answers; `answers` are the model's `Generation`s. `grouped` has the metrics of
    each group and their means, where groups were asked for.
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

    def _repr_html_(self) -> str:
        """Metrics, groups and some examples, as a notebook shows them."""
        return page(self.metrics, self.grouped, self.sources, self.references, self.answers, self.seconds)


def evaluate(
    model: Model,
    pairs: Iterable[tuple[str, str | Sequence[str]]],
    metrics: Sequence[object] = ("bleu", "chrf"),
    *,
    groups: Sequence[str] | None = None,
    **search: Any,
) -> Report:
    """The metrics of `model`'s answers to `pairs` of a source and its reference, or its list of references.

    metrics: names, or mappings {name: settings}, e.g. {"bleu": {"tokenize": "none"}}. groups: for each pair the name of
    its group (a language, a file), to have scores of each and their macro means too. search: settings of
    `Model.generate`; those not given come from the model's `generation.json`. Raises DataError where there is no pair,
    ConfigError for an unknown metric or setting (before anything is generated).
    """
    parsed = know_labels(parse_metrics(metrics), model.labels)
    if not parsed:
        raise ConfigError(f"an evaluation needs at least one metric ({', '.join(names('metric'))}), but there is none.")
    sources: list[str] = []
    references: list[list[str]] = []
    for source, reference in pairs:
        sources.append(source)
        references.append([reference] if isinstance(reference, str) else list(reference))
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
    return Report(measured, sources, references, answers, seconds, parts)
