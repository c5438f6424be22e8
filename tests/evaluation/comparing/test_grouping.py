"""Groups of segments, and the words in which two texts differ."""

from __future__ import annotations

import doctest
import random

import pytest

from antiphon.errors import DataError
from antiphon.evaluation import measuring, segments
from antiphon.evaluation.comparing import (
    grouping,
    groups_by_length,
    groups_by_rarity,
    groups_by_tag,
    in_order,
    word_changes,
    word_counts,
    words,
)
from antiphon.evaluation.comparing.words import marked


@pytest.mark.parametrize("home", [measuring, segments, grouping, words], ids=lambda home: home.__name__)
def test_the_examples_in_the_docstrings(home) -> None:
    assert doctest.testmod(home).failed == 0


def test_groups_by_length_hold_about_as_many_each_and_cover_all() -> None:
    draw = random.Random(1)
    references = [[" ".join("w" * draw.randrange(1, 40)), "x"] for _ in range(500)]
    names = groups_by_length(references)
    bounds = {}
    for name, (text, _) in zip(names, references, strict=True):
        low, _, high = name.removesuffix(" words").partition("-")
        assert int(low) <= len(text.split()) <= int(high or low)
        bounds[name] = bounds.get(name, 0) + 1
    assert len(bounds) == 5 and min(bounds.values()) > 60
    ordered = in_order(names)
    assert [int(name.split("-")[0]) for name in ordered] == sorted(int(name.split("-")[0]) for name in bounds)


def test_equal_lengths_are_one_group_and_few_have_few() -> None:
    assert set(groups_by_length([["a"]] * 9 + [["a b c"]])) == {"1 word", "2-3 words"}
    assert groups_by_length([["a b"]] * 4) == ["2 words"] * 4
    assert groups_by_length([["今日は良い天気です。"], ["今日は。"]], groups=2) == ["5-10 characters", "4 characters"]


def test_groups_by_rarity() -> None:
    references = [["the cat"], ["the dog and the emu"], ["the cat sat"], ["the the"]]
    assert groups_by_rarity(references) == [
        "0 rare words",
        "2-3 rare words",
        "1 rare word",
        "0 rare words",
    ]
    counts = word_counts(["the cat sat"] * 9 + ["emu"] * 5)
    assert groups_by_rarity(references, counts, groups=9) == ["0 rare words", "1-3 rare words"] + ["0 rare words"] * 2
    assert groups_by_rarity(references, counts, rare=0, groups=9)[1] == "1-2 rare words"


def test_groups_by_tag() -> None:
    assert groups_by_tag(["<fre> a", "<dut> b"]) == ["fre", "dut"]
    assert in_order(["fre", "dut", "fre"]) == ["fre", "dut"]
    with pytest.raises(DataError, match="source 2 is `b`"):
        groups_by_tag(["<fre> a", "b"])


def test_word_changes_hold_both_texts() -> None:
    draw = random.Random(5)
    for _ in range(200):
        one, other = (" ".join(draw.choice("abcd") for _ in range(draw.randrange(0, 9))) for _ in range(2))
        changes = word_changes(one, other)
        assert "".join(text for text, kind in changes if kind != "second").split() == one.split()
        assert "".join(text for text, kind in changes if kind != "first").split() == other.split()
        if one == other:
            assert all(kind == "same" for _, kind in changes)


def test_unspaced_texts_are_compared_by_characters() -> None:
    changes = word_changes("今日は良い天気ですから行きます。", "今日は悪い天気ですから行きます。")
    assert [(text, kind) for text, kind in changes if kind != "same"] == [("良", "first"), ("悪", "second")]
    left, right = marked("a b", "a c d")
    assert left == [("a ", True), ("b ", False)] and right == [("a ", True), ("c ", False), ("d", False)]
