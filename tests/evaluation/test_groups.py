"""Groups of a test set: each as if it were evaluated alone, and the means over them."""

from __future__ import annotations

import random

import pytest

from antiphon.errors import DataError
from antiphon.evaluation.bootstrap import macro_interval
from antiphon.evaluation.groups import grouped
from antiphon.evaluation.metrics import measure

METRICS = ["error_rate", "per", "bleu:tokenize=none", "chrf", "macro_f1"]


def corpus(*sizes: int) -> tuple[list[str], list[str], list[list[str]]]:
    """Names, answers and references of groups of these sizes, mixed."""
    draw = random.Random(11)
    rows = []
    for number, size in enumerate(sizes):
        for _ in range(size):
            reference = " ".join(draw.choice("abcde") for _ in range(draw.randrange(1, 7)))
            answer = reference if draw.random() < 0.2 * (number + 1) else reference[:-1] + "z y x w"
            rows.append((f"<{number}>", answer, [reference]))
    draw.shuffle(rows)
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def test_a_group_is_its_own_evaluation() -> None:
    names, answers, references = corpus(30, 10, 50)
    found = grouped(names, answers, references, METRICS)
    assert list(found.groups) == list(dict.fromkeys(names))
    assert found.sizes == {"<0>": 30, "<1>": 10, "<2>": 50}
    for name, results in found.groups.items():
        places = [place for place, other in enumerate(names) if other == name]
        alone = measure([answers[place] for place in places], [references[place] for place in places], METRICS)
        for metric, result in alone.items():
            assert (results[metric].score, results[metric].signature) == (result.score, result.signature)
            assert results[metric].interval == result.interval
    for metric, macro in found.macro.items():
        scores = [results[metric].score for results in found.groups.values()]
        assert macro.score == pytest.approx(sum(scores) / 3)
        assert macro.interval is not None and macro.interval.low < macro.score < macro.interval.high


def test_groups_count_alike_whatever_their_size() -> None:
    found = grouped(["a"] * 9 + ["b"], ["x"] * 10, [["x"]] * 9 + [["y"]], ["exact_match"])
    assert found.macro["exact_match"].score == 50


def test_the_interval_of_the_mean_is_that_of_independent_groups() -> None:
    """Two shares of 0.75 of 400: the variance of their mean is half of one's."""
    part = ([(1.0, 1.0)] * 300 + [(0.0, 1.0)] * 100, lambda sums: 100 * sums[:, 0] / sums[:, 1])
    low, high = macro_interval([part, part])
    half = 1.96 * 100 * (0.75 * 0.25 / 400 / 2) ** 0.5
    assert low == pytest.approx(75 - half, abs=0.8) and high == pytest.approx(75 + half, abs=0.8)


def test_one_group_is_the_whole() -> None:
    _, answers, references = corpus(20)
    found = grouped(["all"] * 20, answers, references, ["per"])
    whole = measure(answers, references, ["per"])["per"]
    assert found.macro["per"].score == whole.score and found.macro["per"].interval == whole.interval


def test_groups_of_one_segment_have_no_interval() -> None:
    assert grouped(["a", "b"], ["x", "y"], [["x"], ["x"]], ["chrf"]).macro["chrf"].interval is None


def test_a_name_for_each_answer() -> None:
    with pytest.raises(DataError, match="has 1 for 2 answers"):
        grouped(["a"], ["x", "y"], [["x"], ["y"]], ["chrf"])
