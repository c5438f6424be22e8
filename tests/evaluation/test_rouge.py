"""ROUGE against the cases of its first program and of the paper, and what we add: references, sentences, intervals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.evaluation.metrics import measure, parse_metrics
from antiphon.evaluation.rouge import rouge1, rouge2, rouge_l, rouge_lsum

METRICS = {"rouge1": rouge1, "rouge2": rouge2, "rougeL": rouge_l, "rougeLsum": rouge_lsum}
ANSWER = "the cat sat on the mat"
NEAR, FAR = "the cat lay on the mat", "a dog ran"


def test_the_published_cases(data_folder: Path) -> None:
    table = json.loads((data_folder / "metrics-reference" / "rouge_cases.json").read_text(encoding="utf-8"))
    assert {case["rouge_type"] for case in table["cases"]} == set(METRICS)
    for case in table["cases"]:
        metric = METRICS[case["rouge_type"]]
        score = metric([case["prediction"]], [[case["target"]]], stemmer=case["use_stemmer"]).score
        assert score == pytest.approx(100 * case["fmeasure"], abs=100 * table["tolerance"]), case["name"]


def by_hand(answer: str, reference: str) -> float:
    """F1 of the words that two texts without repetition share, in percent."""
    left, right = set(answer.split()), set(reference.split())
    return 200 * len(left & right) / (len(left) + len(right))


def test_the_score_is_the_mean_of_the_answers() -> None:
    answers, references = ["a b c", "d e", "f"], ["a b x y", "d e", "g"]
    expected = [by_hand(*pair) for pair in zip(answers, references, strict=True)]
    result = rouge1(answers, [[text] for text in references])
    assert result.score == pytest.approx(sum(expected) / 3)
    assert [100 * part for part, _ in result.statistics] == pytest.approx(expected)
    assert result.interval is not None and result.interval.low < result.score < result.interval.high


def test_several_references() -> None:
    near, far = (rouge1([ANSWER], [[text]]).score for text in (NEAR, FAR))
    assert rouge1([ANSWER], [[FAR, NEAR]]).score == near > far
    assert rouge1([ANSWER], [[FAR, NEAR]], references_by="mean").score == pytest.approx((near + far) / 2)
    assert "nrefs:2|refs:mean" in rouge1([ANSWER], [[FAR, NEAR]], references_by="mean").signature


def test_the_reference_with_the_best_rouge1_counts_where_that_is_asked_for() -> None:
    # The first reference shares more words, the second more pairs of neighbours.
    answer, words, pairs = "a b c d", "d c b a", "a b x y"
    assert rouge1([answer], [[words]]).score > rouge1([answer], [[pairs]]).score
    assert rouge2([answer], [[words]]).score == 0 < rouge2([answer], [[pairs]]).score
    assert rouge2([answer], [[words, pairs]], references_by="rouge1").score == 0
    assert rouge2([answer], [[words, pairs]]).score == rouge2([answer], [[pairs]]).score


def test_sentences_of_lsum() -> None:
    answer, reference = "b c. a d.", "a d. b c."
    assert rouge_lsum([answer], [[reference]]).score == rouge_l([answer], [[reference]]).score == 50
    assert rouge_lsum([answer], [[reference]], sentences=True).score == 100
    lines = [text.replace(". ", ".\n") for text in (answer, reference)]
    assert rouge_lsum(lines[:1], [lines[1:]]).score == 100
    assert "sentences:ends" in rouge_lsum([answer], [[reference]], sentences=True).signature


def test_the_stemmer() -> None:
    assert rouge1(["cats sitting"], [["cat sits"]]).score == 0
    assert rouge1(["cats sitting"], [["cat sits"]], stemmer=True).score == 100


def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"`references_by` of rouge1 must be one of .*did you mean `mean`"):
        parse_metrics(["rouge1:references_by=meen"])
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(ConfigError, match=r"pip install 'antiphon\[metrics\]'") as caught:
        parse_metrics(["rougeL"])
    assert "\n" not in str(caught.value)


def test_all_by_name() -> None:
    found = measure([ANSWER], [[NEAR]], ["rouge1", "rouge2", "rougeL", "rougeLsum:stemmer=true"])
    assert list(found) == ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    assert found["rouge1"].score == found["rougeL"].score == pytest.approx(100 * 5 / 6)
