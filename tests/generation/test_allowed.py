"""`allowed`: answers are one of these texts, ranked as forced scoring ranks them."""

from __future__ import annotations

import random

import pytest
from generation.test_model import KINDS, model

from antiphon.constraints.constraint import CLOSED, DEAD
from antiphon.constraints.trie import TrieConstraint
from antiphon.errors import ConfigError, DataError

LABELS = ["hello", "hello world", "hell", "in 3 hours", "in 3", "ein Haus", "zwei Häuser", "日本", "x"]


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_beam_for_each_text_the_ranking_is_that_of_forced_scores(kind: str) -> None:
    for seed in range(3):
        held = model(kind, seed=seed, max_length=60)
        texts = ["hello", "we go in 3 hours", "ein"]
        settings = {"beam_size": len(LABELS), "n_best": len(LABELS), "max_new_tokens": None, "length_penalty": 0.0}
        for text, found in zip(texts, held.generate(texts, allowed=LABELS, **settings), strict=True):
            scores = dict(zip(LABELS, held.score([text] * len(LABELS), LABELS), strict=True))
            ranked = sorted(LABELS, key=lambda label: -scores[label])
            assert [each.text for each in (found, *found.alternatives)] == ranked
            for each in (found, *found.alternatives):
                assert each.finished and each.score == pytest.approx(scores[each.text], abs=1e-8)


@pytest.mark.parametrize(
    "settings",
    [
        {"beam_size": 1},
        {"beam_size": 3, "n_best": 3},
        {"temperature": 1.5, "n_best": 4},
        {"beam_size": 4, "beam_groups": 2},
    ],
    ids=str,
)
def test_every_answer_is_allowed_alone_as_in_a_batch_and_streamed(settings: dict[str, object]) -> None:
    held, texts = model("unigram", max_length=60), ["hello", "we go", "ein Haus", "drei"]
    lists = [LABELS[:3], None, LABELS[3:], ["x"]]
    settings = {"no_repeat_ngram": 1, "max_new_tokens": None, **settings}
    together = held.generate(texts, allowed=lists, **settings)
    for row, (text, found, own) in enumerate(zip(texts, together, lists, strict=True)):
        for each in (found, *found.alternatives):
            assert own is None or (each.text in own and each.finished)
        alone = held.generate(text, allowed=own, first_row=row, **settings)[0]
        assert [each.text for each in (alone, *alone.alternatives)] == [
            each.text for each in (found, *found.alternatives)
        ]
        assert "".join(held.stream(text, allowed=own, first_row=row, **settings)) == found.text


def test_thousands_of_texts() -> None:
    dice = random.Random(0)
    texts = [" ".join(dice.choices(["ein", "Haus", "in", "drei", "we", "go", "zwei"], k=6)) for _ in range(5000)]
    found = model(max_length=60).generate("hello", allowed=texts, beam_size=4, n_best=4, max_new_tokens=None)[0]
    assert all(each.text in set(texts) for each in (found, *found.alternatives))


def test_the_other_restrictions_choose_among_the_texts() -> None:
    held = model(max_length=60)
    found = held.generate("hello", allowed=LABELS, required=["in 3"], forbidden=["hours"], max_new_tokens=None)[0]
    assert found.text == "in 3" and found.alternatives == []
    assert held.generate("x", allowed=LABELS, prefix="zwei", max_new_tokens=None)[0].text == "zwei Häuser"


def test_what_cannot_be_is_one_line_with_the_row() -> None:
    held = model("bytes", max_length=40)
    for settings, error, message in [
        ({"allowed": []}, ConfigError, "`allowed` must have at least one text"),
        ({"allowed": [["a"], []]}, ConfigError, "`allowed` must have at least one text for each row"),
        ({"allowed": [["a"]]}, ConfigError, r"one for each input \(here 2\), but has lists for 1"),
        ({"allowed": [["a"], ["b"]], "required": ["a"]}, DataError, "`allowed` of input 2 must have a text with all"),
        ({"allowed": ["a"], "prefix": "b"}, DataError, "prefix of input 1 must begin an allowed text"),
        ({"allowed": ["a" * 12]}, DataError, "longest allowed text of input 1 must fit into 12 tokens, but needs 13"),
        ({"allowed": ["a" * 40], "max_new_tokens": None}, DataError, "must fit into 40 tokens, but needs 41"),
        ({"allowed": ["a"], "overflow": "split"}, DataError, "source of input 2 must not be split"),
    ]:
        with pytest.raises(error, match=message):
            held.generate(["x", "y z. " * 12 if "overflow" in settings else "y"], **settings)


def test_a_trie_needs_what_is_left() -> None:
    trie = TrieConstraint([[5, 6, 2], [5, 2], [7, 8, 8, 2]], end=2, size=9)
    assert trie.longest == 4 and trie.need(0) == 2
    assert trie.costs(0).tolist() == [CLOSED] * 5 + [1, CLOSED, 3, CLOSED]
    assert trie.costs(trie.follow(0, 5)).tolist() == [CLOSED, CLOSED, 0, CLOSED, CLOSED, CLOSED, 1, CLOSED, CLOSED]
    assert trie.follow(0, 6) == DEAD and trie.need(DEAD) == CLOSED
    with pytest.raises(AssertionError, match="must hold one end token"):
        TrieConstraint([[5, 6]], end=2, size=9)
