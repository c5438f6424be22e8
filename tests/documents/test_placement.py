"""Tags in an answer: order, format and white space."""

from __future__ import annotations

import itertools
import random

import pytest

from antiphon.documents import AlignedSpan, SegmentAnswer, placement, read_html
from antiphon.documents.placement import _best_division


def result(source: str, target: str, pairs: dict[str, str]) -> str:
    """`source` as HTML, its only sentence answered by `target`, where the words of `pairs` are aligned."""
    document = read_html(source, language="en")
    (segment,) = document.segments
    spans = []
    for own, other in pairs.items():
        a, b = segment.text.index(own), target.index(other)
        spans.append(AlignedSpan((a, a + len(own)), (b, b + len(other)), 0.6))
    content = document.join([SegmentAnswer(target, spans)]).content
    assert isinstance(content, str)
    return content


@pytest.mark.parametrize(
    ("source", "target", "pairs", "expected"),
    [
        ("a <b>c</b> d", "x y z", {"a": "x", "c": "y", "d": "z"}, "x <b>y</b> z"),
        ("a <b>c</b> d", "y x z", {"a": "x", "c": "y", "d": "z"}, "<b>y</b> x z"),
        ("a <b>c</b> d", "x z y", {"a": "x", "c": "y", "d": "z"}, "x z <b>y</b>"),
        ("a <b>c</b>, d", "x y, z", {"a": "x", "c": "y", "d": "z"}, "x <b>y</b>, z"),
        ("a <i><b>c</b> e</i> d", "x y v z", {"a": "x", "c": "y", "e": "v", "d": "z"}, "x <i><b>y</b> v</i> z"),
        ("a <i>e <b>c</b></i> d", "x v y z", {"a": "x", "c": "y", "e": "v", "d": "z"}, "x <i>v <b>y</b></i> z"),
        ("one<br>two", "eins zwei", {"one": "eins", "two": "zwei"}, "eins<br>zwei"),
        ("one <br> two", "eins zwei", {"one": "eins", "two": "zwei"}, "eins<br>zwei"),
        ("one<br>two.", "eins, zwei.", {"one": "eins", "two": "zwei"}, "eins,<br>zwei."),
        ("a <img src=x> c", "x y", {"a": "x", "c": "y"}, "x <img src=x> y"),
        ("a<img src=x> c", "x y", {"a": "x", "c": "y"}, "x<img src=x> y"),
        ("a <img src=x>c", "x y", {"a": "x", "c": "y"}, "x <img src=x>y"),
        ("a <b> c </b> d", "x y z", {"a": "x", "c": "y", "d": "z"}, "x <b> y</b> z"),
        ("a<!-- n --> c", "x y", {"a": "x", "c": "y"}, "x<!-- n --> y"),
        ("see <b>B12</b> of it", "davon B12 sehen", {}, "davon <b>B12</b> sehen"),
        ("<b>5</b> c a", "x 5 y", {"c": "y", "a": "x"}, "x <b>5</b> y"),
        ("我<b>爱</b>你", "I love you", {"我": "I", "爱": "love", "你": "you"}, "I <b>love</b> you"),
        ("I <b>love</b> you", "我爱你", {"I": "我", "love": "爱", "you": "你"}, "我<b>爱</b>你"),
    ],
)
def test_where_tags_are_placed(source: str, target: str, pairs: dict[str, str], expected: str) -> None:
    assert result(source, target, pairs) == expected


def test_an_element_over_two_sentences() -> None:
    document = read_html("He <b>came. She</b> left.", language="en")
    assert [segment.text for segment in document.segments] == ["He came.", "She left."]
    answers = [
        SegmentAnswer("Er kam.", [AlignedSpan((0, 2), (0, 2)), AlignedSpan((3, 7), (3, 6))]),
        SegmentAnswer("Sie ging.", [AlignedSpan((0, 3), (0, 3)), AlignedSpan((4, 8), (4, 8))]),
    ]
    assert document.join(answers).content == "Er <b>kam. Sie</b> ging."


def test_the_division_is_the_best_one() -> None:
    """By trying all: ascending stretches, less the cost of those with text that no word has."""
    draw = random.Random(0)
    for _ in range(300):
        words, count = draw.randint(1, 5), draw.randint(1, 4)
        scores = [[draw.choice([0.0, 0.25, 0.5, 1.0]) for _ in range(count)] for _ in range(words)]
        filled = [draw.random() < 0.6 for _ in range(count)]

        def worth(taken: tuple[int, ...], scores: list = scores, filled: list = filled) -> float:
            empty = sum(has for stretch, has in enumerate(filled) if stretch not in taken)
            return sum(row[stretch] for row, stretch in zip(scores, taken, strict=True)) - placement._EMPTY_COST * empty

        best = max(map(worth, itertools.combinations_with_replacement(range(count), words)))
        taken = _best_division(scores, filled)
        assert taken == sorted(taken)
        assert worth(tuple(taken)) == pytest.approx(best)


def test_many_tags_are_placed_by_relative_positions() -> None:
    source = "".join(f"<b>w{i}</b> " for i in range(150))
    document = read_html(source)
    (segment,) = document.segments
    target = segment.text.upper()
    content = document.join([SegmentAnswer(target)]).content
    assert content == "".join(f"<b>W{i}</b> " for i in range(150))
