"""The figures of a comparison: scores, differences, groups of segments and the segments that differ most."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

from antiphon.evaluation.bootstrap import ConfidenceInterval
from antiphon.evaluation.comparing.differences import Difference
from antiphon.evaluation.comparing.grouping import in_order
from antiphon.evaluation.comparing.words import word_changes
from antiphon.evaluation.result import MetricResult

MAX_PAIRS_SHOWN = 3  # systems are all compared with each other in a table; of more pairs, the best with the others
_TIE = 1e-6


class WinTieLoss(NamedTuple):
    """The segments on which the first of two systems is better, both are equal, and the second is better."""

    wins: int
    ties: int
    losses: int


class Contrast(NamedTuple):
    """A segment with its scores of two systems."""

    place: int
    first: float
    second: float


@dataclass(frozen=True)
class ComparisonFigures:
    """The figures of systems that are compared on one test set.

    `results` and `intervals` have one entry a system, by metric; `differences` has every pair of systems of every
    metric. `segment_scores` are those of the first metric, one list a system. `groups` names the group of each segment,
    by kind (length, frequency, tag).
    """

    names: list[str]
    answers: list[list[str]] = field(repr=False)
    references: list[list[str]] = field(repr=False)
    sources: list[Any] | None = field(repr=False)
    results: dict[str, list[MetricResult]] = field(repr=False)
    intervals: dict[str, list[ConfidenceInterval | None]] = field(repr=False)
    differences: list[Difference]
    segment_scores: list[list[float]] = field(repr=False)
    groups: dict[str, list[str]] = field(repr=False)
    rare: str  # what makes a word rare, for the groups by frequency
    samples: int
    trials: int

    @property
    def segments(self) -> int:
        """The number of segments of the test set."""
        return len(self.references)

    @property
    def main_metric(self) -> str:
        """The first metric, by which segments are compared."""
        return next(iter(self.results))

    @property
    def verdicts(self) -> list[str]:
        """A sentence for each pair of systems and metric."""
        return [one.verdict for one in self.differences]

    @cached_property
    def ranking(self) -> list[int]:
        """The places of the systems, best first by the first metric."""
        results = self.results[self.main_metric]
        sign = 1 if results[0].lower_is_better else -1
        return sorted(range(len(self.names)), key=lambda place: sign * results[place].score)

    @property
    def pairs_shown(self) -> list[tuple[int, int]]:
        """The pairs of systems that tables show: all, or if they are many, the best with each other one."""
        pairs = list(combinations(range(len(self.names)), 2))
        if len(pairs) <= MAX_PAIRS_SHOWN:
            return pairs
        best = self.ranking[0]
        return [(min(best, other), max(best, other)) for other in self.ranking[1:]]

    def difference(self, metric: str, first: int, second: int) -> Difference:
        """The difference of two systems, by their places, first before second."""
        wanted = (metric, self.names[first], self.names[second])
        return next(one for one in self.differences if (one.metric, one.first, one.second) == wanted)

    def wins(self, first: int, second: int, places: Sequence[int] | None = None) -> WinTieLoss:
        """How often each of two systems is better, on all segments or on those at `places`."""
        sign = -1 if self.results[self.main_metric][0].lower_is_better else 1
        left, right = self.segment_scores[first], self.segment_scores[second]
        leads = [sign * (left[place] - right[place]) for place in (range(self.segments) if places is None else places)]
        wins, losses = sum(lead > _TIE for lead in leads), sum(lead < -_TIE for lead in leads)
        return WinTieLoss(wins, len(leads) - wins - losses, losses)

    def places_of(self, kind: str) -> dict[str, list[int]]:
        """The segments of each group of a kind, by name."""
        found: dict[str, list[int]] = {name: [] for name in in_order(self.groups[kind])}
        for place, name in enumerate(self.groups[kind]):
            found[name].append(place)
        return found

    def group_score(self, system: int, places: Sequence[int]) -> float | None:
        """The score of a system by the first metric on some segments; None if the metric has no statistics."""
        import numpy as np  # sacrebleu brings it

        result = self.results[self.main_metric][system]
        if result.score_of is None:
            return None
        table = np.asarray(result.statistics, dtype=np.float64)
        return float(result.scores(table[list(places)].sum(0)[None])[0])

    def contrasts(self, first: int, second: int, count: int) -> tuple[list[Contrast], list[Contrast]]:
        """The segments on which `first` is better by most, and those on which `second` is, at most `count` each."""
        sign = -1 if self.results[self.main_metric][0].lower_is_better else 1
        left, right = self.segment_scores[first], self.segment_scores[second]
        found = [Contrast(place, left[place], right[place]) for place in range(self.segments)]
        ordered = sorted(found, key=lambda one: sign * (one.second - one.first))
        ahead = [one for one in ordered[:count] if sign * (one.first - one.second) > _TIE]
        behind = [one for one in reversed(ordered[-count:]) if sign * (one.second - one.first) > _TIE]
        return ahead, behind

    def as_dict(self, *, examples: int = 5) -> dict[str, Any]:
        """All figures, for JSON; `examples`: how many segments that differ most, in favour of each system."""
        return {
            "segments": self.segments,
            "systems": self.names,
            "samples": self.samples,
            "trials": self.trials,
            "correction": "holm",
            "metrics": {metric: self._metric_dict(metric) for metric in self.results},
            "rare_words": self.rare,
            "groups": {kind: self._group_dict(kind) for kind in self.groups},
            "examples": self._examples(examples),
        }

    def as_json(self, *, examples: int = 5) -> str:
        """`as_dict` as one line of JSON."""
        return json.dumps(_finite(self.as_dict(examples=examples)), ensure_ascii=False, allow_nan=False) + "\n"

    def _metric_dict(self, metric: str) -> dict[str, Any]:
        results = self.results[metric]
        systems = {
            name: {"score": result.score, "interval": None if interval is None else list(interval)}
            for name, result, interval in zip(self.names, results, self.intervals[metric], strict=True)
        }
        note = {"note": results[0].note} if results[0].note else {}
        return {
            "signature": results[0].signature,
            "lower_is_better": results[0].lower_is_better,
            **note,
            "systems": systems,
            "pairs": [one.as_dict() for one in self.differences if one.metric == metric],
        }

    def _group_dict(self, kind: str) -> dict[str, Any]:
        pairs = list(combinations(range(len(self.names)), 2))
        return {
            name: {
                "segments": len(places),
                self.main_metric: {own: self.group_score(place, places) for place, own in enumerate(self.names)},
                "pairs": [
                    {"systems": [self.names[one], self.names[other]], **self.wins(one, other, places)._asdict()}
                    for one, other in pairs
                ],
            }
            for name, places in self.places_of(kind).items()
        }

    def _examples(self, count: int) -> list[dict[str, Any]]:
        found = []
        for first, second in self.pairs_shown:
            for one in [each for side in self.contrasts(first, second, count) for each in side]:
                left, right = self.answers[first][one.place], self.answers[second][one.place]
                found.append(
                    {
                        "systems": [self.names[first], self.names[second]],
                        "segment": one.place + 1,
                        "source": None if self.sources is None else str(self.sources[one.place]),
                        "references": self.references[one.place],
                        "answers": [left, right],
                        "scores": [one.first, one.second],
                        "changes": [list(change) for change in word_changes(left, right)],
                    }
                )
        return found


def _finite(value: Any) -> Any:
    """`value` with null for numbers that JSON does not have, which a metric of a user's own may give."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
