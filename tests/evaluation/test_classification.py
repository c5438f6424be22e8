"""Labels: the scores against a count by hand, and the table that people read."""

from __future__ import annotations

import random

import pytest

from antiphon.errors import DataError
from antiphon.evaluation.classification import accuracy, confusion, macro_f1
from antiphon.evaluation.edits import exact_match
from antiphon.evaluation.metrics import measure, parse_metrics

GOLD = ["pos", "pos", "pos", "neg", "neg", "mixed"]
ANSWERS = ["pos", "neg", "pos", "neg", "pos", "great"]


def rows(labels: list[str]) -> list[list[str]]:
    return [[label] for label in labels]


def by_definition(answers: list[str], gold: list[str], known: set[str]) -> float:
    """The mean over labels of 2PR / (P + R), each from its own counts."""
    figures = []
    for label in sorted(known & {*gold, *answers}):
        hits = sum(one == other == label for one, other in zip(answers, gold, strict=True))
        precision = hits / answers.count(label) if label in answers else 0.0
        recall = hits / gold.count(label) if label in gold else 0.0
        figures.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    return 100 * sum(figures) / len(figures)


def test_by_hand() -> None:
    assert accuracy(ANSWERS, rows(GOLD)).score == pytest.approx(50)
    # pos: 2 of 3 answers, 2 of 3 references; neg: 1 of 2 and 1 of 2; mixed: never.
    assert macro_f1(ANSWERS, rows(GOLD)).score == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)


def test_macro_f1_is_its_definition() -> None:
    draw = random.Random(5)
    for _ in range(50):
        known = [f"label {number}" for number in range(draw.randrange(1, 6))]
        gold = [draw.choice(known) for _ in range(30)]
        answers = [draw.choice([*known, "nonsense"]) for _ in range(30)]
        score = macro_f1(answers, rows(gold), labels=known).score
        assert score == pytest.approx(by_definition(answers, gold, set(known)))


def test_drawn_sets_have_the_score_of_their_segments() -> None:
    draw = random.Random(6)
    gold = [draw.choice(["a", "a", "a", "b", "c"]) for _ in range(60)]
    answers = [draw.choice([label, "a", "z"]) for label in gold]
    whole = macro_f1(answers, rows(gold))
    assert whole.interval is not None and whole.interval.low < whole.score < whole.interval.high
    import numpy as np

    drawn = [draw.randrange(60) for _ in range(60)]
    total = np.asarray([whole.statistics[place] for place in drawn]).sum(0)
    alone = by_definition([answers[place] for place in drawn], [gold[place] for place in drawn], {"a", "b", "c"})
    assert whole.score_of is not None and whole.score_of(total) == pytest.approx(alone)


def test_accuracy_is_exact_match() -> None:
    several = [[label, "great"] for label in GOLD]
    for references in (rows(GOLD), several):
        assert accuracy(ANSWERS, references).score == exact_match(ANSWERS, references).score
        assert confusion(ANSWERS, references).score == pytest.approx(accuracy(ANSWERS, references).score)


def test_details_of_each_label() -> None:
    details = macro_f1(ANSWERS, rows(GOLD)).details
    assert details["labels"] == ["mixed", "neg", "pos"]
    assert details["counts"] == [[0, 0, 0], [0, 1, 1], [0, 1, 2]]
    assert details["unknown_answers"] == {"great": 1}
    pos = details["per_label"]["pos"]
    assert pos["precision"] == pytest.approx(200 / 3) and pos["recall"] == pytest.approx(200 / 3)
    assert (pos["references"], pos["answers"]) == (3, 3)
    assert sum(map(sum, details["counts"])) + sum(details["unknown_answers"].values()) == len(GOLD)


def test_the_table_that_people_read() -> None:
    assert confusion(ANSWERS, rows(GOLD)).table.splitlines() == [
        "reference \\ answer  mixed    neg    pos  (no label)  recall",
        "mixed                   0      0      0           1    0.00",
        "neg                     0      1      1           0   50.00",
        "pos                     0      1      2           0   66.67",
        "precision            0.00  50.00  66.67",
        "No known label: 1 of 6 answers, `great` (1)",
    ]
    clean = confusion(["a", "b"], rows(["a", "b"]), labels=["b", "a"]).table.splitlines()
    assert clean[0].split() == ["reference", "\\", "answer", "b", "a", "recall"] and len(clean) == 4


def test_a_table_of_many_labels_shows_the_most_frequent() -> None:
    gold = [f"{number:02}" for number in range(30) for _ in range(30 - number)]
    answers = ["29" if label == "00" else label for label in gold]
    lines = confusion(answers, rows(gold)).table.splitlines()
    assert len(lines) == 1 + 20 + 1 + 1
    assert lines[0].split()[3:] == [*(f"{number:02}" for number in range(20)), "(10", "others)", "recall"]
    assert lines[1].split()[-2:] == ["30", "0.00"]  # all 30 of label 00 were taken for one that is not shown
    assert lines[21].split()[:2] == ["(10", "others)"] and lines[21].split()[-1] == "55"


def test_labels_of_ones_own() -> None:
    assert macro_f1(["a"], [["a"]], labels=["a", "b"]).score == 100  # b was neither asked nor answered
    assert macro_f1(["b"], [["a"]], labels=["a", "b"]).details["unknown_answers"] == {}
    assert macro_f1(["b"], [["a"]]).details["unknown_answers"] == {"b": 1}
    with pytest.raises(DataError, match=r"one of the 2 `labels`, but that of answer 2 is `c`"):
        macro_f1(["a", "b"], [["a"], ["c"]], labels=["a", "b"])
    [metric] = parse_metrics([{"macro_f1": {"labels": ["yes", "no"]}}])  # the try with a pair of ours is no fault
    assert metric(["yes"], [["yes"]]).score == 100


def test_empty_and_long_answers_are_shown() -> None:
    table = confusion(["", "x" * 100], rows(["a", "a"])).table
    assert "`(empty)` (1)" in table and "`" + "x" * 23 + "…` (1)" in table


def test_by_name() -> None:
    found = measure(ANSWERS, rows(GOLD), ["accuracy", "macro_f1", "confusion"])
    assert list(found) == ["accuracy", "macro_f1", "confusion"]
    assert found["accuracy"].score == found["confusion"].score
