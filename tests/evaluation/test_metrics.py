"""The metrics against values that do not come from our code, and what they refuse."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import antiphon
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.metrics import MetricResult, bleu, chrf, exact_match, measure, parse_metrics, ter
from antiphon.registry import _parts

ANSWERS = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
STREAMS = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]
ROWS = [list(row) for row in zip(*STREAMS, strict=True)]


@pytest.fixture
def cases(data_folder: Path) -> dict:
    return json.loads((data_folder / "metrics-reference" / "sacrebleu_cases.json").read_text(encoding="utf-8"))


def rows(streams: list[list[str]]) -> list[list[str]]:
    return [list(row) for row in zip(*streams, strict=True)]


def test_bleu_on_published_cases(cases: dict) -> None:
    table = cases["corpus_bleu"]
    for case in table["cases"]:
        score = bleu(case["hypotheses"], rows(case["references"]), **case["kwargs"]).score
        assert score == pytest.approx(case["expected"], abs=1e-6)  # the file prints 6 to 8 decimals
    for case in cases["bleu_max_ngram_order"]["cases"]:
        score = bleu(case["hypotheses"], rows(case["references"]), max_ngram_order=case["max_ngram_order"]).score
        assert f"{score:.2f}" == case["expected"]


def test_bleu_of_one_sentence_with_every_smoothing_and_tokenizer(cases: dict) -> None:
    for name in ("sentence_bleu", "sentence_bleu_zero"):
        table = cases[name]
        for case in table["cases"]:
            settings = {key: case[key] for key in ("smooth_method", "smooth_value", "lowercase", "tokenize")}
            score = bleu([table["hypothesis"]], [table["references"]], effective_order=True, **settings).score
            assert score == pytest.approx(case["expected"], abs=table["tolerance"])


def test_chrf_on_published_cases(cases: dict) -> None:
    for name, settings in [
        ("corpus_chrf_eps_beta3", {"beta": 3, "eps_smoothing": True}),
        ("corpus_chrf_effective_beta3", {"beta": 3, "eps_smoothing": False}),
        ("corpus_chrf_keep_whitespace_beta3", {"beta": 3, "whitespace": True}),
    ]:
        for case in cases[name]["cases"]:
            score = chrf(case["hypotheses"], rows(case["references"]), **settings).score
            assert score == pytest.approx(case["expected"], abs=cases[name]["tolerance"])
    for case in cases["sentence_chrf_eps"]["cases"]:
        score = chrf([case["hypothesis"]], [case["references"]], eps_smoothing=True).score
        assert score == pytest.approx(case["expected"], abs=cases["sentence_chrf_eps"]["tolerance"])


def test_ter_on_published_cases(cases: dict) -> None:
    for case in cases["corpus_ter"]["cases"]:
        score = ter(case["hypotheses"], rows(case["references"])).score
        assert score == pytest.approx(100 * case["expected"], abs=0.1)


def test_whole_systems_scored_by_other_programs(data_folder: Path) -> None:
    folder = data_folder / "metrics-reference" / "wmt17-en-de"

    def lines(name: str) -> list[str]:
        with gzip.open(folder / name, "rt", encoding="utf-8", newline="\n") as file:
            return file.read().removesuffix("\n").split("\n")

    reference = [[line] for line in lines("reference.de.gz")]
    system = json.loads((folder / "scores.json").read_text(encoding="utf-8"))[0]
    answers = lines(f"{system['system']}.de.gz")
    assert bleu(answers, reference).score == pytest.approx(system["mteval_v13a_bleu"], abs=0.01)  # the Perl program
    assert chrf(answers, reference, eps_smoothing=True).score == pytest.approx(
        system["sacrebleu_2.6.0"]["chrf_eps"], abs=1e-4
    )


def test_several_references_of_different_number() -> None:
    uneven = [ROWS[0], ROWS[1], ROWS[2][:1]]
    result = bleu(ANSWERS, uneven)
    assert "nrefs:var" in result.signature
    assert bleu(ANSWERS, ROWS).score > result.score  # a reference fewer cannot help
    assert "nrefs:2" in bleu(ANSWERS, ROWS).signature


def test_signatures_name_the_choices() -> None:
    assert "tok:none" in bleu(ANSWERS, ROWS, tokenize="none").signature
    assert "nw:2" in chrf(ANSWERS, ROWS, word_order=2).signature
    assert "case:lc" in ter(ANSWERS, ROWS).signature
    assert exact_match(ANSWERS, ROWS).signature == "nrefs:2|case:mixed"


def test_exact_match_counts_answers_that_equal_any_reference() -> None:
    result = exact_match(["a", "b", "C"], [["x", "a"], ["x"], ["c"]])
    assert result.score == pytest.approx(100 / 3)
    assert exact_match(["a", "b", "C"], [["x", "a"], ["x"], ["c"]], lowercase=True).score == pytest.approx(200 / 3)


def test_the_interval_is_sacrebleus_and_the_same_twice() -> None:
    from sacrebleu.metrics.bleu import BLEU

    answers, references = ANSWERS * 5, ROWS * 5
    answers[3] = "Something else entirely."
    streams = [list(stream) for stream in zip(*references, strict=True)]
    theirs = BLEU(force=True).corpus_score(answers, streams, n_bootstrap=1000)
    ours = bleu(answers, references)
    assert ours.interval is not None
    assert (ours.interval.high - ours.interval.low) / 2 == pytest.approx(theirs._ci, abs=1e-3)  # theirs adds in float32
    assert ours.interval.low < ours.score < ours.interval.high
    assert bleu(answers, references).interval == ours.interval


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
    names = ["chrf", {"bleu": {"tokenize": "none"}}, "bleu:tokenize=intl:lowercase=true", "exact_match"]
    metrics = parse_metrics(names)
    assert [metric.name for metric in metrics] == [
        "chrf",
        "bleu:tokenize=none",
        "bleu:tokenize=intl:lowercase=True",
        "exact_match",
    ]
    assert metrics[2].settings == {"tokenize": "intl", "lowercase": True}
    assert (
        parse_metrics([{"bleu": {"tokenize": "none"}}])[0].name == "bleu"
    )  # alone, the name is enough for keep_best: bleu
    assert measure(ANSWERS, ROWS, metrics)["chrf"].score == chrf(ANSWERS, ROWS).score


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
        del _parts["metric"]["test_length_ratio"]
