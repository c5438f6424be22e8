"""How metrics are written, found and called, and what they refuse."""

from __future__ import annotations

import doctest

import pytest

import antiphon
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation import classification, edits, groups, metrics, rouge
from antiphon.evaluation.edits import exact_match
from antiphon.evaluation.metrics import measure, parse_metrics
from antiphon.evaluation.result import MetricResult
from antiphon.evaluation.translation import bleu, chrf
from antiphon.registry import names, unregister

ANSWERS = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
STREAMS = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]
ROWS = [list(row) for row in zip(*STREAMS, strict=True)]


def test_exact_match_counts_answers_that_equal_any_reference() -> None:
    result = exact_match(["a", "b", "C"], [["x", "a"], ["x"], ["c"]])
    assert result.score == pytest.approx(100 / 3)
    assert exact_match(["a", "b", "C"], [["x", "a"], ["x"], ["c"]], lowercase=True).score == pytest.approx(200 / 3)


def test_the_interval_of_a_share_is_near_the_binomial_one() -> None:
    answers = ["y"] * 300 + ["n"] * 100
    interval = exact_match(answers, [["y"]] * 400).interval
    assert interval is not None
    half = 1.96 * 100 * (0.75 * 0.25 / 400) ** 0.5
    assert interval.low == pytest.approx(75 - half, abs=0.8)
    assert interval.high == pytest.approx(75 + half, abs=0.8)


def test_one_segment_has_no_interval() -> None:
    assert bleu(["a b c d"], [["a b c d"]]).interval is None


def test_forms_of_a_metric() -> None:
    forms = ["chrf", {"bleu": {"tokenize": "none"}}, "bleu:tokenize=intl:lowercase=true", "exact_match"]
    found = parse_metrics(forms)
    assert [metric.name for metric in found] == [
        "chrf",
        "bleu:tokenize=none",
        "bleu:tokenize=intl:lowercase=True",
        "exact_match",
    ]
    assert found[2].settings == {"tokenize": "intl", "lowercase": True}
    assert (
        parse_metrics([{"bleu": {"tokenize": "none"}}])[0].name == "bleu"
    )  # alone, the name is enough for keep_best: bleu
    assert measure(ANSWERS, ROWS, found)["chrf"].score == chrf(ANSWERS, ROWS).score


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["blue"], "did you mean `bleu`"),
        (["bleu:tokenise=none"], "tokenise"),
        (["bleu:tokenize=13"], "must be one of"),
        ([{"bleu": {"smooth_method": "epx"}}], "did you mean `exp`"),
        (["bleu", "bleu"], "twice"),
        ([3], "but is 3"),
        ([{"bleu": 1, "chrf": 2}], "a name or a mapping"),
    ],
)
def test_a_wrong_metric_is_one_clear_line(items: list, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_metrics(items)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answers", "references", "words"),
    [
        (["a"], [["a"], ["b"]], "1 answers and 2 references"),
        ([], [], "at least one answer"),
        (["a"], ["a"], "those of answer 1 are 'a'"),
        (["a", "b"], [["a"], []], "those of answer 2"),
    ],
)
def test_wrong_sides_are_one_clear_line(answers: list, references: list, words: str) -> None:
    [metric] = parse_metrics(["bleu"])
    with pytest.raises(DataError, match=words):
        metric(answers, references)


def test_a_metric_of_ones_own() -> None:
    @antiphon.register("metric", "test_length_ratio")
    def ratio(answers: list[str], references: list[list[str]], *, unit: float = 1.0) -> float:
        return unit * sum(map(len, answers)) / sum(len(row[0]) for row in references)

    try:
        [metric] = parse_metrics(["test_length_ratio:unit=100"])
        assert metric(["ab"], [["abcd"]]) == MetricResult(50.0)
        assert metric(["ab"], [["abcd"]]).interval is None
    finally:
        unregister("metric", "test_length_ratio")


@pytest.mark.parametrize("home", [classification, edits, groups, metrics, rouge], ids=lambda home: home.__name__)
def test_the_examples_in_the_docstrings(home) -> None:
    assert doctest.testmod(home).failed == 0


def test_a_metric_that_needs_sources_says_so() -> None:
    @antiphon.register("metric", "test_needs_sources")
    def needs(answers: list[str], references: list[list[str]], *, sources: list[str]) -> MetricResult:
        return MetricResult(float(len(sources)), lower_is_better=True)

    try:
        [metric] = parse_metrics(["test_needs_sources"])
        assert metric(["a", "b"], [["a"], ["b"]], ["x", "y"]) == MetricResult(2.0, lower_is_better=True)
        with pytest.raises(DataError, match="there are 1 answers and 0 sources"):
            metric(["a"], [["a"]])
    finally:
        unregister("metric", "test_needs_sources")


def test_all_that_are_built_in() -> None:
    assert set(names("metric")) >= {
        "bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "rougeLsum", "exact_match", "error_rate", "wer", "cer",
        "per", "accuracy", "macro_f1", "confusion", "comet",
    }  # fmt: skip
