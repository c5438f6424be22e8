"""The difference of two systems in one metric, with its interval, p-values and a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_uppercase
from typing import Any

from antiphon.evaluation.bootstrap import ConfidenceInterval, middle
from antiphon.evaluation.comparing.resampling import (
    bootstrap_p,
    bootstrap_scores,
    holm,
    randomisation_p,
    sacrebleu_p,
)
from antiphon.evaluation.result import MetricResult

ALPHA = 0.05
_TITLES = {
    "bleu": "BLEU", "chrf": "chrF", "ter": "TER", "wer": "WER", "cer": "CER", "per": "PER", "comet": "COMET",
    "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum",
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """The difference `second` - `first` of two systems in one metric, on the metric's scale.

    `p` is that of approximate randomisation, or of the paired bootstrap if the statistics of both cannot be exchanged;
    `p_holm` is corrected for the `comparisons` of this metric. `tests` has the p-value of each test by name. All are
    None if the metric returns a number alone, without statistics. `better` is the better system if `p_holm` is below
    0.05, else None.
    """

    metric: str
    first: str
    second: str
    scores: tuple[float, float]
    intervals: tuple[ConfidenceInterval | None, ConfidenceInterval | None]
    difference: float
    interval: ConfidenceInterval | None
    p: float | None
    p_holm: float | None
    tests: dict[str, float | None]
    comparisons: int
    lower_is_better: bool = False
    equal: bool = False  # whether all answers are the same

    @property
    def ahead(self) -> str:
        """The system whose score is better, by chance or not; the first if both are equal."""
        return self.second if (self.difference < 0) == self.lower_is_better and self.difference else self.first

    @property
    def better(self) -> str | None:
        """The system that is better, if that is shown."""
        return self.ahead if self.p_holm is not None and self.p_holm < ALPHA else None

    @property
    def verdict(self) -> str:
        """One sentence: which is better, by how much, and how sure that is; or that no difference is shown."""
        name, size = title(self.metric), f"{abs(self.difference):.2f}"
        if self.equal:
            return f"No difference between {self.first} and {self.second} is shown in {name}: all answers are equal."
        if self.p_holm is None or self.interval is None:
            return (
                f"{self.ahead} is ahead by {size} {name}, but the metric has no statistics of segments to test whether "
                "that is chance."
            )
        corrected = f" after Holm's correction for {self.comparisons} pairs" if self.comparisons > 1 else ""
        figures = f"95 %: {_size_bounds(self.interval, self.difference)}, p = {probability(self.p_holm)}{corrected}"
        if self.better is None:
            lead = f"{self.ahead} is ahead by {size}" if self.difference else "the scores are equal"
            return f"No difference between {self.first} and {self.second} is shown in {name} ({lead}, {figures})."
        other = self.first if self.better == self.second else self.second
        return f"{self.better} is better than {other} by {size} {name} ({figures})."

    def as_dict(self) -> dict[str, Any]:
        """The figures for JSON."""
        return {
            "systems": [self.first, self.second],
            "scores": list(self.scores),
            "intervals": [None if one is None else list(one) for one in self.intervals],
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
            "p": self.p,
            "p_holm": self.p_holm,
            "tests": self.tests,
            "better": self.better,
            "verdict": self.verdict,
        }


def differences(
    metric: str,
    names: Sequence[str],
    results: Sequence[MetricResult],
    *,
    same: set[tuple[int, int]],
    as_sacrebleu: bool,
    samples: int,
    trials: int,
) -> tuple[list[ConfidenceInterval | None], list[Difference]]:
    """The interval of each system's score, and the difference of each pair.

    same: the pairs with equal answers. as_sacrebleu: the p-values of randomisation are those of sacreBLEU, which does
    not count ties.
    """
    pairs = list(combinations(range(len(names)), 2))
    tested = all(result.score_of is not None for result in results)
    intervals: list[ConfidenceInterval | None] = [None] * len(names)
    found: dict[tuple[int, int], tuple[ConfidenceInterval | None, dict[str, float | None]]] = {}
    if tested:
        sampled = bootstrap_scores(results, samples=samples)
        intervals = [middle(row) for row in sampled]
        exchanged = randomisation_p(results, trials=trials, ties=not as_sacrebleu) or {}
        for one, other in pairs:
            apart, measured = sampled[other] - sampled[one], results[other].score - results[one].score
            tests: dict[str, float | None] = {
                "randomisation": 1.0 if (one, other) in same and exchanged else exchanged.get((one, other)),
                "bootstrap": bootstrap_p(apart, measured),
                "sacrebleu_bootstrap": sacrebleu_p(apart, measured),
            }
            found[one, other] = middle(apart), tests
    else:
        empty: dict[str, float | None] = {"randomisation": None, "bootstrap": None, "sacrebleu_bootstrap": None}
        found = {pair: (None, dict(empty)) for pair in pairs}
    chosen = [tests for _, tests in found.values()]
    raw = [one["bootstrap"] if one["randomisation"] is None else one["randomisation"] for one in chosen]
    corrected = holm([p for p in raw if p is not None]) if tested else [None] * len(raw)
    return intervals, [
        Difference(
            metric,
            names[one],
            names[other],
            (results[one].score, results[other].score),
            (intervals[one], intervals[other]),
            results[other].score - results[one].score,
            found[one, other][0],
            p,
            p_holm,
            found[one, other][1],
            len(pairs),
            results[one].lower_is_better,
            (one, other) in same,
        )
        for (one, other), p, p_holm in zip(pairs, raw, corrected, strict=True)
    ]


def letter(place: int) -> str:
    """The default name of a system: A, B, …, Z, A2, B2, …"""
    turn, rest = divmod(place, len(ascii_uppercase))
    return ascii_uppercase[rest] + (f"{turn + 1}" if turn else "")


def title(metric: str) -> str:
    """The name of a metric in papers, with its settings if there are any."""
    name, colon, settings = metric.partition(":")
    return f"{_TITLES.get(name, name)}{f' ({settings})' if colon else ''}"


def probability(p: float) -> str:
    """A p-value with three decimals, or four if it is below 0.001."""
    return f"{p:.4f}" if p < 0.001 else f"{p:.3f}"


def bounds(interval: ConfidenceInterval | None) -> str:
    """An interval with two decimals, without -0.00; "" for None."""
    return "" if interval is None else " to ".join(f"{round(end, 2) + 0.0:.2f}" for end in interval)


def _size_bounds(interval: ConfidenceInterval, difference: float) -> str:
    """The interval of the size of a difference: of the system that is ahead minus the other one."""
    return bounds(interval if difference >= 0 else ConfidenceInterval(-interval.high, -interval.low))
