"""Scores of many samples at once against sacreBLEU's, one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.evaluation.metrics import parse_metrics
from antiphon.evaluation.result import MetricResult

ANSWERS = ["a b c d e", "f g", "", "a x c d b a", "q r s t"] * 4
REFERENCES = [["a b c d"], ["f h", "g"], ["i"], ["a b c d b a"], ["z"]] * 4
METRICS = [
    "bleu",
    *(f"bleu:smooth_method={name}" for name in ("none", "floor", "add-k")),
    *(f"bleu:smooth_method={name}:effective_order=true" for name in ("exp", "none", "floor", "add-k")),
    "bleu:smooth_method=add-k:smooth_value=0.3:max_ngram_order=2",
    "chrf",
    "chrf:word_order=2:beta=3",
    "chrf:eps_smoothing=true",
    "ter",
    "wer",
    "exact_match",
    "accuracy",
    "macro_f1",
]


def random_sums(result: MetricResult, metric: str) -> np.ndarray:
    """Sums of no segment, of one, and of several; and for BLEU and chrF counts that no texts here would give."""
    draw = np.random.default_rng(7)
    table = np.asarray(result.statistics, dtype=np.float64)
    chosen = [np.zeros(len(table)), *np.eye(len(table)), *draw.integers(0, 3, (40, len(table)))]
    sums = np.array(chosen) @ table
    if metric.startswith(("bleu", "chrf")):
        mixed = draw.integers(0, 4, (300, table.shape[1])).astype(float)
        sums = np.concatenate([sums, mixed])
    return sums


@pytest.mark.parametrize("name", METRICS)
def test_many_at_once_are_each_alone(name: str) -> None:
    [metric] = parse_metrics([name])
    result = metric(ANSWERS, REFERENCES)
    assert result.many_scores_of is not None and result.score_of is not None
    sums = random_sums(result, name)
    before = sums.copy()
    found = result.many_scores_of(sums)
    assert (sums == before).all(), "sums are not changed"
    assert found == pytest.approx([result.score_of(row.copy()) for row in sums], abs=1e-9)
    assert result.scores(np.asarray(result.statistics, dtype=float).sum(0)[None])[0] == pytest.approx(result.score)


def test_a_metric_without_the_fast_form_is_called_for_each() -> None:
    result = MetricResult(1.0, "", [(1.0, 2.0), (2.0, 2.0)], lambda total: total[0] / total[1])
    assert result.scores(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [0.5, 0.75]
    assert result.interval == (0.5, 1.0)
