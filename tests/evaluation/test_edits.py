"""Edit distances against the textbook's table, and the rates made of them."""

from __future__ import annotations

import random

import pytest
from counts import count

from antiphon.evaluation.edits import cer, edit_distance, error_rate, exact_match, per, wer
from antiphon.evaluation.result import MetricResult


def by_table(one: list[str], other: list[str]) -> int:
    """Levenshtein's distance, cell by cell."""
    table = [[i + j for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, left in enumerate(one, 1):
        for j, right in enumerate(other, 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (left != right))
    return table[-1][-1]


def test_bit_vectors_are_the_table() -> None:
    draw = random.Random(7)
    for _ in range(count("edit_distance")):
        one, other = ([draw.choice("abcd") for _ in range(draw.randrange(12))] for _ in range(2))
        assert edit_distance(one, other) == by_table(one, other), (one, other)


def test_long_sequences_cross_the_machine_word() -> None:
    draw = random.Random(8)
    for length in (63, 64, 65, 128, 200):
        one = [draw.choice("abcdef") for _ in range(length)]
        other = [draw.choice("abcdef") for _ in range(length + draw.randrange(-20, 20))]
        assert edit_distance(one, other) == by_table(one, other)


def test_units_may_be_longer_than_a_letter() -> None:
    assert edit_distance(["a", "ʃ", "t͡ʃ"], ["a", "t͡ʃ", "ʃ"]) == 2
    assert edit_distance([], ["a", "b"]) == 2 and edit_distance(["a"], []) == 1 and edit_distance([], []) == 0


def test_rates_are_summed_before_they_are_divided() -> None:
    answers, references = ["the cat sat", "a"], [["the cat sat down"], ["b"]]
    assert wer(answers, references).score == pytest.approx(100 * 2 / 5)
    assert cer(answers, references).score == pytest.approx(100 * (5 + 1) / (16 + 1))
    assert per(["a b s ã", "k"], [["a p s ã"], ["k"]]).score == pytest.approx(20.0)
    assert wer(["A b"], [["a b"]]).score == 50 and wer(["A b"], [["a b"]], lowercase=True).score == 0


def test_a_rate_may_exceed_the_whole() -> None:
    assert wer(["a b c d"], [["x"]]).score == 400


def test_empty_sides() -> None:
    assert wer(["", "x"], [["a b"], ["x"]]).score == pytest.approx(100 * 2 / 3)
    assert cer(["ab"], [[""]]).score == 200  # no length to divide by: as if there were one character
    assert cer([""], [[""]]).score == 0


def test_of_several_references_the_nearest_counts() -> None:
    # 1 edit in 2 words is a higher rate than 1 in 4.
    both = wer(["a b c x"], [["a b c d", "a b c"]])
    assert both.score == 25.0 and "nrefs:2" in both.signature
    assert wer(["a b"], [["x y", "a b"]]).score == 0


def test_error_rate_is_what_exact_match_lacks() -> None:
    answers, references = ["a", "b", "C"], [["x", "a"], ["x"], ["c"]]
    hit, missed = exact_match(answers, references), error_rate(answers, references)
    assert hit.score + missed.score == pytest.approx(100) and hit.signature == missed.signature
    assert hit.interval is not None and missed.interval is not None
    assert missed.interval == pytest.approx((100 - hit.interval.high, 100 - hit.interval.low))
    assert error_rate(answers, references, lowercase=True).score == pytest.approx(100 / 3)


def test_the_direction_is_known() -> None:
    results = [metric(["a"], [["a"]]) for metric in (wer, cer, per, error_rate)]
    assert all(result.lower_is_better for result in results)
    assert not exact_match(["a"], [["a"]]).lower_is_better


@pytest.mark.parametrize("metric", [wer, cer, per, error_rate, exact_match])
def test_drawn_sets_have_the_score_of_their_segments(metric) -> None:
    """What the bootstrap adds up gives the score that the same segments have when they are written out."""
    draw = random.Random(3)
    answers = [" ".join(draw.choice("abc") for _ in range(4)) for _ in range(40)]
    references = [[answer if draw.random() < 0.4 else answer[draw.randrange(5) :]] for answer in answers]
    whole: MetricResult = metric(answers, references)
    drawn = [draw.randrange(40) for _ in range(40)]
    total = [sum(whole.statistics[place][column] for place in drawn) for column in range(2)]
    alone = metric([answers[place] for place in drawn], [references[place] for place in drawn])
    assert whole.score_of is not None and whole.score_of(total) == pytest.approx(alone.score)
    assert whole.interval is not None
    assert whole.interval.low < whole.score < whole.interval.high
