"""Reranking: minimum Bayes risk by its definition, fast scores as sacreBLEU's, second models, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sacrebleu
from generation.test_model import model
from hypothesis import given, settings
from hypothesis import strategies as st

import antiphon
from antiphon.errors import ConfigError
from antiphon.evaluation.metrics import Metric, parse_metrics
from antiphon.evaluation.reranking import Reranker, mean_scores, rerank
from antiphon.evaluation.reranking.pairwise import pairwise
from antiphon.evaluation.reranking.scorers import needs_references
from antiphon.evaluation.result import MetricResult
from antiphon.generation.model import Model
from antiphon.registry import unregister
from antiphon.text.task import reverse_words

SOURCES = ["in 3 hours we go", "hello", ""]
TEXTS = st.lists(st.text("ab c.,", max_size=14), min_size=1, max_size=5, unique=True)


@settings(max_examples=40, deadline=None)
@given(TEXTS)
@pytest.mark.parametrize(
    "given_settings",
    [{}, {"word_order": 2}, {"lowercase": True, "beta": 1}, {"eps_smoothing": True, "whitespace": True}],
)
def test_chrf_of_all_pairs_is_that_of_sacrebleu(given_settings: dict[str, object], texts: list[str]) -> None:
    (metric,) = parse_metrics([{"chrf": given_settings}])
    (found,) = pairwise(metric, [texts], [""])
    theirs = sacrebleu.CHRF(**given_settings)
    expected = [[theirs.sentence_score(a, [b]).score for b in texts] for a in texts]
    assert found.tolist() == [pytest.approx(row, abs=1e-9) for row in expected]


@settings(max_examples=40, deadline=None)
@given(TEXTS)
@pytest.mark.parametrize("given_settings", [{}, {"tokenize": "none", "smooth_method": "floor"}, {"max_ngram_order": 2}])
def test_bleu_of_all_pairs_is_that_of_sacrebleu(given_settings: dict[str, object], texts: list[str]) -> None:
    (metric,) = parse_metrics([{"bleu": given_settings}])
    (found,) = pairwise(metric, [texts], [""])
    theirs = sacrebleu.BLEU(**{"tokenize": "13a", **given_settings}, effective_order=True, force=True)
    expected = [[theirs.sentence_score(a, [b]).score for b in texts] for a in texts]
    assert found.tolist() == [pytest.approx(row, abs=1e-9) for row in expected]


def test_any_other_metric_is_called_once_and_a_low_score_is_better() -> None:
    calls = []

    def far(hypotheses: list[str], references: list[list[str]], *, sources: list[str]) -> MetricResult:
        calls.append((len(hypotheses), sources))
        rows = [(float(abs(len(a) - len(b[0]))), 1.0) for a, b in zip(hypotheses, references, strict=True)]
        return MetricResult(sum(a for a, _ in rows), "", rows, lambda total: float(total[0]), lower_is_better=True)

    found = pairwise(Metric("far", far, {}), [["a", "abc"], ["x"]], ["one", "two"])
    assert calls == [(5, ["one"] * 4 + ["two"])]
    assert found[0].tolist() == [[0, -2], [-2, 0]] and found[1].tolist() == [[0]]


def test_minimum_bayes_risk_over_the_n_best() -> None:
    """The utility by the definition, with the model's probabilities a token as weights."""
    held = model("bpe", max_length=60)
    found = rerank(held, SOURCES, by="chrf", candidates=5, n_best=5)
    assert [answer.text for answer in found][2] == "" and len(found) == 3
    for source, answer in zip(SOURCES[:2], found, strict=False):
        plain = held.generate(source, beam_size=5, n_best=5)[0]
        weights = {each.text: each.confidence for each in [*reversed(plain.alternatives), plain]}
        total = sum(weights.values())
        chrf = sacrebleu.CHRF()
        utility = {
            text: sum(own / total * chrf.sentence_score(text, [other]).score for other, own in weights.items())
            for text in weights
        }
        ranked = [answer, *answer.alternatives]
        assert {each.text: each.rerank_score for each in ranked} == pytest.approx(utility)
        assert [each.rerank_score for each in ranked] == pytest.approx(sorted(utility.values(), reverse=True))
        assert answer.as_json()["rerank_score"] == answer.rerank_score
    assert found.cost.inputs == 3 and found.cost.calls > 2 * 4 and "scored pairs" in str(found.cost)
    assert "scored pairs" in found._repr_html_()


def test_samples_count_as_often_as_they_come() -> None:
    held = model("bpe", max_length=60)
    count = 12
    settings_ = {"temperature": 0.15, "seed": 3, "max_new_tokens": 3}
    (found,) = rerank(held, "hello", by={"exact_match": {}}, candidates=count, n_best=count, **settings_)
    drawn = [answer.text for answer in held.generate(["hello"] * count, **settings_)]
    assert len(set(drawn)) < count, "the test needs equal samples"
    # The expected exact match of a text is the share of the samples that equal it.
    shares = {text: 100 * drawn.count(text) / count for text in drawn}
    assert {each.text: each.rerank_score for each in [found, *found.alternatives]} == pytest.approx(shares)
    rows = rerank(held, ["a", "b"], candidates=3, prefix=["in", "ein"], temperature=1.0)
    assert [row.text.split()[0][:2] for row in rows] == ["in", "ei"]


def test_sampling_in_parts_is_sampling_at_once() -> None:
    held = model("bpe", max_length=60)
    asked = {"temperature": 1.0, "seed": 1}
    whole = Reranker(held, "chrf", candidates=4)
    parts = Reranker(held, "chrf", candidates=4)
    texts = ["hello", "in 3"]
    together = [each.text for each in whole.generate(texts, **asked)]
    assert together == [parts.generate(text, first_row=row, **asked)[0].text for row, text in enumerate(texts)]
    assert parts.cost.inputs == whole.cost.inputs == 2 and parts.cost.calls == whole.cost.calls


def test_a_metric_without_references_is_scored_directly() -> None:
    held = model("bpe", max_length=60)

    @antiphon.register("metric", "short_like_source")
    def short(hypotheses: list[str], references: object = None, *, sources: list[str]) -> MetricResult:
        rows = [(-float(abs(len(a) - len(b))), 1.0) for a, b in zip(hypotheses, sources, strict=True)]
        return MetricResult(0.0, "", rows, lambda total: float(total[0]))

    try:
        (metric,) = parse_metrics(["short_like_source"])
        assert not needs_references(metric) and needs_references(*parse_metrics(["ter"]))
        (found,) = rerank(held, "hello", by="short_like_source", candidates=5, n_best=5)
        ranked = [found, *found.alternatives]
        assert [each.rerank_score for each in ranked] == sorted((-abs(len(e.text) - 5) for e in ranked), reverse=True)
    finally:
        unregister("metric", "short_like_source")
    assert not needs_references(Metric("comet", lambda a, b: 0.0, {"reference_free": True}))


def test_a_second_model(tmp_path: Path) -> None:
    left, right = model("bpe", seed=1, max_length=60), model("bpe", seed=2, max_length=60)
    right = Model.from_parts(replace(right.parts, task="right_to_left"))
    for weight in (0.0, 0.3, 1.0):
        (found,) = rerank(left, "hello", by=right, weight=weight, candidates=4, n_best=4)
        for each in [found, *found.alternatives]:
            sides = []
            for held, text in ((left, each.text), (right, reverse_words(each.text))):
                sides.append(held.score("hello", text)[0] / len(held.target_tokenizer.encode(text)))
            assert each.rerank_score == pytest.approx((1 - weight) * sides[0] + weight * sides[1])
    assert mean_scores(right, ["hello"], ["b a"]) == pytest.approx(
        [right.score("hello", "a b")[0] / len(right.target_tokenizer.encode("a b"))]
    )
    folder = right.save(tmp_path / "right")
    again = rerank(left, "hello", by=str(folder), weight=1.0, candidates=4, n_best=4)[0]
    assert again.text == found.text


def test_what_is_wrong_is_named() -> None:
    held = model("bpe", max_length=60)
    with pytest.raises(ConfigError, match=r"`chrff` is not a known metric, did you mean `chrf`"):
        rerank(held, "a", by="chrff")
    with pytest.raises(ConfigError, match="`by` must be a metric, a model or its folder, but is 3"):
        rerank(held, "a", by=3)
    with pytest.raises(ConfigError, match="`candidates` must be from 1 to 4096, but is 0"):
        rerank(held, "a", candidates=0)
    with pytest.raises(ConfigError, match="`n_best` must be at most the number of candidates \\(4\\), but is 5"):
        rerank(held, "a", candidates=4, n_best=5)
    with pytest.raises(ConfigError, match="`weight` of the second model must be from 0 to 1"):
        rerank(held, "a", by=held, weight=1.5)
    labels = Model.from_parts(replace(held.parts, task="classification", labels={"0": "go", "1": "in"}))
    with pytest.raises(ConfigError, match="chooses among its labels"):
        rerank(labels, "a")
