"""A model on pairs: what is asked of it, what is measured, and what is refused before it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

import antiphon
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.translation import chrf
from antiphon.generation.answers import Generation


@dataclass
class Echo:
    """Stands for a model: answers each text in capitals, and notes what it was asked."""

    asked: list = field(default_factory=list)
    labels: tuple[str, ...] = ()

    def generate(self, texts: list[str], **search: object) -> list[Generation]:
        self.asked.append((texts, search))
        return [Generation(text.upper(), [text], -1.0, 0.5, True) for text in texts]


def test_one_and_several_references() -> None:
    model = Echo()
    report = antiphon.evaluate(
        model, [("a", "A"), ("b", ["x", "B"]), ("c", "no")], metrics=["exact_match", "chrf"], beam_size=3
    )
    assert model.asked == [(["a", "b", "c"], {"beam_size": 3})]
    assert list(report) == ["exact_match", "chrf"]
    assert report["exact_match"].score == pytest.approx(200 / 3)
    assert report["chrf"].score == chrf(["A", "B", "C"], [["A"], ["x", "B"], ["no"]]).score
    assert [answer.text for answer in report.answers] == ["A", "B", "C"]
    assert report.references == [["A"], ["x", "B"], ["no"]]
    assert report.seconds >= 0


def test_pairs_may_be_any_iterable() -> None:
    report = antiphon.evaluate(Echo(), ((text, text.upper()) for text in "abc"), metrics=["exact_match"])
    assert report["exact_match"].score == 100


def test_what_is_wrong_is_said_before_anything_is_generated() -> None:
    model = Echo()
    with pytest.raises(DataError, match="at least one pair"):
        antiphon.evaluate(model, [])
    with pytest.raises(ConfigError, match="did you mean `chrf`"):
        antiphon.evaluate(model, [("a", "b")], metrics=["chrff"])
    for pairs in (None, {"in 3 hours": "in 3 Stunden"}, "pairs.tsv"):
        with pytest.raises(DataError, match="`pairs` must be pairs"):
            antiphon.evaluate(model, pairs)
    with pytest.raises(ConfigError, match="`model` must be a model"):
        antiphon.evaluate("runs/demo", [("a", "b")])
    assert model.asked == []


def test_one_metric_may_be_given_alone() -> None:
    assert list(antiphon.evaluate(Echo(), [("a", "A")], metrics="exact_match")) == ["exact_match"]


@pytest.mark.parametrize(
    "pair",
    [
        ("in 3 hours", None),
        ("in 3 hours", float("nan")),
        ("in 3 hours", 3),
        ("in 3 hours", []),
        ("in 3 hours", ["a", None]),
        ("a",),
        ["in 3 hours"],
        {"a": "b"},
        {"source": "a", "target": None},
        {"a": "b", "c": "d"},
        "ab",
        (None, "a"),
        None,
    ],
)
def test_a_pair_without_a_reference_is_refused_by_name(pair: object) -> None:
    # F19: Python's own errors, after all answers were made.
    model = Echo()
    with pytest.raises(
        DataError, match=r"a pair must be a source and its reference, .* \(pairs\[1\]\)\. Add"
    ) as caught:
        antiphon.evaluate(model, [("a", "A"), pair], metrics=["chrf"])  # type: ignore[list-item]
    assert model.asked == [] and "\n" not in str(caught.value)


def test_pairs_may_be_mappings() -> None:
    pairs = [{"source": "a", "target": "A"}, {"target": ["x", "B"], "source": "b"}]
    report = antiphon.evaluate(Echo(), pairs, metrics=["exact_match"])
    assert report["exact_match"].score == 100 and report.sources == ["a", "b"]
