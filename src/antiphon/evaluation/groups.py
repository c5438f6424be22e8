"""Scores of groups of a test set (languages, files), and their macro mean: the unweighted mean over groups.

>>> names = ["<fre>", "<fre>", "<vie>"]
>>> scores = grouped(names, ["a", "b", "c"], [["a"], ["x"], ["c"]], ["exact_match"])
>>> {name: group["exact_match"].score for name, group in scores.groups.items()}, scores.macro["exact_match"].score
({'<fre>': 50.0, '<vie>': 100.0}, 75.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from antiphon.errors import DataError
from antiphon.evaluation.bootstrap import ConfidenceInterval, macro_interval
from antiphon.evaluation.metrics import measure, parse_metrics
from antiphon.evaluation.result import MetricResult, References


@dataclass(frozen=True)
class Macro:
    """The macro mean of one metric over groups, with their results."""

    results: list[MetricResult] = field(repr=False)

    @property
    def score(self) -> float:
        """The mean of the groups' scores."""
        return sum(result.score for result in self.results) / len(self.results)

    @cached_property
    def interval(self) -> ConfidenceInterval | None:
        """The 95 % interval by resampling each group separately; None if a group has no statistics."""
        parts = [(result.statistics, result.scores) for result in self.results if result.score_of is not None]
        if len(parts) < len(self.results) or all(len(statistics) < 2 for statistics, _ in parts):
            return None
        return macro_interval(parts)


@dataclass(frozen=True)
class Grouped:
    """The metrics of each group, by name, in the order of first appearance, and the means over the groups."""

    groups: dict[str, dict[str, MetricResult]]
    sizes: dict[str, int]

    @property
    def macro(self) -> dict[str, Macro]:
        """The mean of each metric over the groups."""
        first = next(iter(self.groups.values()))
        return {name: Macro([results[name] for results in self.groups.values()]) for name in first}


def grouped(
    names: Sequence[str],
    hypotheses: Sequence[str],
    references: References,
    metrics: Sequence[object],
    sources: Sequence[str] | None = None,
) -> Grouped:
    """Compute `metrics` on the answers of each group; `names` has the name of the group of each answer.

    Raises DataError if the numbers of names and answers differ.
    """
    if len(names) != len(hypotheses):
        raise DataError(f"`names` must have one for each answer, but has {len(names)} for {len(hypotheses)} answers.")
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    parsed = parse_metrics(metrics)
    groups = {
        name: measure(
            [hypotheses[place] for place in rows],
            [references[place] for place in rows],
            parsed,
            None if sources is None else [sources[place] for place in rows],
        )
        for name, rows in places.items()
    }
    return Grouped(groups, {name: len(rows) for name, rows in places.items()})
