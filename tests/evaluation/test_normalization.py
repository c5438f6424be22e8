"""Normalisers of texts, and the error rates of normalised texts against published figures."""

from __future__ import annotations

import unicodedata

import pytest

import antiphon
from antiphon.errors import ConfigError
from antiphon.evaluation.edits import cer, error_rate, exact_match, wer
from antiphon.evaluation.metrics import parse_metrics
from antiphon.evaluation.normalization import normalizer
from antiphon.registry import unregister

TEXTS = ("Well,  «Yes»!", "don't [laughter] stop (quietly)", "Été № 5 — ½", "e\u0301", " a\tb\n", "你好，世界。", "")


def test_figures_of_the_documentation_of_evaluate() -> None:
    """The examples on the pages of `wer` and `cer` of the package evaluate, which jiwer computes."""
    answers = ["this is the prediction", "there is an other sample"]
    references = [["this is the reference"], ["there is another one"]]
    assert wer(answers, references).score == pytest.approx(50.0)
    assert cer(answers, references).score == pytest.approx(34.146341463414634)


@pytest.mark.parametrize(
    ("names", "text", "form"),
    [
        (["lower"], "ÄB", "äb"),
        (["punctuation"], " Well ,  «yes»! ", "Well yes"),
        (["punctuation"], "don't 3.5 well-known", "dont 35 wellknown"),
        (["spaces"], "  a \t b\n", "a b"),
        (["no_spaces"], "今日 は", "今日は"),
        (["accents"], "Éte\u0301 ñ", "Ete n"),
        (["nfc"], "e\u0301", "é"),
        (["nfkc"], "ﬁ①", "fi1"),
        (["lower", "punctuation"], "A, B.", "a b"),
        ([], "A,  B.", "A,  B."),
    ],
)
def test_each_normaliser(names: list[str], text: str, form: str) -> None:
    assert normalizer(names)(text) == form


@pytest.mark.parametrize("text", TEXTS)
def test_whisper_is_that_of_transformers(text: str) -> None:
    normal = pytest.importorskip("transformers.models.whisper.english_normalizer").BasicTextNormalizer()
    assert normalizer(["whisper"])(text) == normal(text).strip()


def test_they_apply_to_both_sides_in_order() -> None:
    answers, references = ["Hello, World", "ß"], [["hello world!"], ["SS"]]
    assert wer(answers, references).score == 100
    assert wer(answers, references, normalize=["lower", "punctuation"]).score == pytest.approx(100 / 3)
    assert cer(["a b"], [["ab"]], normalize=["no_spaces"]).score == 0 and cer(["a b"], [["ab"]]).score == 50
    assert exact_match(["Yes."], [["yes"]], normalize=["lower", "punctuation"]).score == 100
    assert error_rate(["Yes."], [["yes"]], normalize="lower+punctuation").score == 0
    composed = unicodedata.normalize("NFC", "é")
    assert cer([unicodedata.normalize("NFD", composed)], [[composed]], normalize="nfc").score == 0


def test_they_are_settings_of_a_metric() -> None:
    in_recipe, on_command_line = (
        parse_metrics([{"cer": {"normalize": ["lower", "punctuation"]}}]),
        parse_metrics(["cer:normalize=lower+punctuation"]),
    )
    results = [metric(["A."], [["a"]]) for [metric] in (in_recipe, on_command_line)]
    assert {result.score for result in results} == {0.0}
    assert {result.signature for result in results} == {"nrefs:1|case:lc|norm:lower+punctuation|unit:character"}
    two = parse_metrics([{"wer": {"normalize": ["lower"]}}, "wer"])
    assert [metric.name for metric in two] == ["wer:normalize=lower", "wer"]


def test_a_normaliser_of_ones_own() -> None:
    antiphon.register("normalizer", "digits")(lambda text: "".join(char for char in text if char.isdigit()))
    try:
        assert cer(["a1 b2"], [["12"]], normalize=["digits"]).score == 0
    finally:
        unregister("normalizer", "digits")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalize": ["lowr"]}, "`lowr` is not a known normalizer, did you mean `lower`?"),
        ({"normalize": 3}, "`normalize` must be a list of names, but is 3"),
        ({"normalize": ["lower", None]}, "`normalize` must be a list of names"),
        ({"normalise": ["lower"]}, "does not take these settings"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_measured(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_metrics([{"wer": settings}])
    assert message in str(error.value) and "\n" not in str(error.value)
