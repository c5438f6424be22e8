"""Scores of single segments, to find where answers are good or bad, and where two systems differ.

>>> from antiphon.evaluation.metrics import parse_metrics
>>> [wer] = parse_metrics(["wer"])
>>> segment_scores(wer, ["a b", "a c d e"], [["a b"], ["a b d e"]])
[0.0, 25.0]

They do not add up to the score of the corpus where that is no mean of segments (BLEU, chrF, TER, WER, macro F1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from antiphon.evaluation.metrics import Metric
from antiphon.evaluation.result import MetricResult, References, percent
from antiphon.evaluation.translation import bleu


def segment_scores(
    metric: Metric, answers: Sequence[str], references: References, sources: Sequence[str] | None = None
) -> list[float]:
    """The score of each answer alone, on the metric's scale.

    Taken from the statistics of the corpus if the metric has them, else by calling it on each segment. BLEU uses the
    effective order, as sacreBLEU does for sentences: an answer of three words has no sequence of four. Raises DataError
    as the metric does.
    """
    return scores_of(metric, metric(answers, references, sources), answers, references, sources)


def scores_of(
    metric: Metric,
    result: MetricResult,
    answers: Sequence[str],
    references: References,
    sources: Sequence[str] | None = None,
) -> list[float]:
    """As `segment_scores`, if the `result` of the metric on all segments is known already."""

    def alone(metric: Metric, place: int) -> MetricResult:
        one = None if sources is None else [sources[place]]
        return metric([answers[place]], [references[place]], one)

    if result.score_of is None or len(result.statistics) != len(answers):
        return [alone(metric, place).score for place in range(len(answers))]
    score_of = result.score_of
    if metric.function is bleu and not metric.settings.get("effective_order"):
        sentence = alone(replace(metric, settings={**metric.settings, "effective_order": True}), 0)
        score_of = sentence.score_of or score_of
    found = []
    for place, row in enumerate(result.statistics):
        # An empty reference has no length to divide by; the metrics of edits count it as one unit.
        empty = score_of is percent and not row[1] and row[0]
        # A copy: sacreBLEU's smoothing `add-k` adds to the row that it is given.
        found.append(alone(metric, place).score if empty else float(score_of(list(row))))
    return found
