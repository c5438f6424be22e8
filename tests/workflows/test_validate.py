"""What a validation measures and which figure chooses the model. (Answers and losses are set here, not computed.)"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from antiphon.config import ValidationConfig
from antiphon.evaluation.metrics import parse_metrics
from antiphon.workflows.validate import Validate

PAIRS = [("one", ["eins", "ein"]), ("two words", ["zwei worte"])]
BETTER, WORSE = ["ein", "zwei worte"], ["ein", "zwei wörter oder mehr"]


@dataclass
class Fixed(Validate):
    """A validator whose answers and loss are given."""

    said: list[str] = field(default_factory=list)
    nats: float = 1.0

    def loss(self, *_: Any) -> float:
        return self.nats

    def answers(self, *_: Any) -> list[str]:
        return self.said[: len(self.pairs) if self.metrics else self.settings.samples]


def validation(said: list[str], *metrics: object, keep_best: str | None = None, nats: float = 1.0) -> Any:
    settings = ValidationConfig(metrics=metrics, keep_best=keep_best)
    made = Fixed(None, [], PAIRS, settings, parse_metrics(metrics), 100, said=said, nats=nats)  # type: ignore[arg-type]
    return made(None, lambda: False)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["wer", "cer", "per", "error_rate", "ter"])
def test_of_some_metrics_less_is_better(metric: str) -> None:
    better, worse = (validation(said, metric, keep_best=metric) for said in (BETTER, WORSE))
    assert better.figures[metric] == 0 < worse.figures[metric]
    assert better.score > worse.score


@pytest.mark.parametrize("metric", ["bleu:max_ngram_order=1", "chrf", "accuracy", "rouge1", "exact_match"])
def test_of_others_more_is(metric: str) -> None:
    better, worse = (validation(said, metric) for said in (BETTER, WORSE))
    assert better.score > worse.score


def test_the_loss_chooses_where_it_is_asked_or_alone() -> None:
    for metrics, keep_best in ([(), None], [("chrf",), "valid_loss"]):
        low, high = (validation(BETTER, *metrics, keep_best=keep_best, nats=nats) for nats in (0.5, 0.7))
        assert (low.score, high.score) == (-0.5, -0.7)


def test_every_reference_of_a_row_counts() -> None:
    assert validation(BETTER, "exact_match").figures["exact_match"] == 100
    assert validation(BETTER, "exact_match").samples[0].reference == "eins"


@pytest.mark.parametrize(
    ("metrics", "keep_best", "chosen"),
    [
        (["chrf", {"bleu": {"tokenize": "none"}}], "bleu", "bleu"),
        (["chrf", "bleu:tokenize=none"], "bleu:tokenize=none", "bleu"),
        (["chrf", "bleu:tokenize=none", "bleu"], "bleu", "bleu"),
        ([{"bleu": {"tokenize": "none"}}, {"bleu": {"lowercase": True}}], "bleu", "bleu:tokenize=none"),
    ],
)
def test_keep_best_finds_a_metric_with_settings(metrics: list[object], keep_best: str, chosen: str) -> None:
    found = validation(WORSE, *metrics, keep_best=keep_best)
    assert found.score == found.figures[chosen]


def test_metrics_get_the_sources() -> None:
    import antiphon
    from antiphon.registry import unregister

    @antiphon.register("metric", "test_copied")
    def copied(answers: list[str], references: list[list[str]], *, sources: list[str]) -> float:
        return 100.0 * sum(answer == source for answer, source in zip(answers, sources, strict=True)) / len(answers)

    try:
        assert validation(["one", "zwei"], "test_copied").figures["test_copied"] == 50
    finally:
        unregister("metric", "test_copied")
