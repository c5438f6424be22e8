"""BLEU, chrF and TER against values that do not come from our code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.evaluation.translation import bleu, chrf, ter

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


def test_only_of_ter_is_less_better() -> None:
    assert [metric(ANSWERS, ROWS).lower_is_better for metric in (bleu, chrf, ter)] == [False, False, True]


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
