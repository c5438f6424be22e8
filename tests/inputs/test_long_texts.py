"""Long texts are cut where it hurts least, nothing is lost, and the time is linear."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from antiphon.inputs.long_texts import pieces_of, split
from antiphon.text import Tokenizer, train_tokenizer

TEXTS = ["It rains. It shines! Does it?", "Häuser und Straßen, 12 Stück", "東京です。今日は。"] * 3


@pytest.fixture(scope="module", params=["bpe", "unigram", "bytes", "characters"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(TEXTS, kind=request.param, vocab_size=320)


def test_parts_fit_and_nothing_but_space_is_lost(tokenizer: Tokenizer) -> None:
    dice = random.Random(0)
    for _ in range(60):
        words = dice.choices(
            ["It", "rains.", "Does", "it?", "\n", "Straßen,", "東京です。", "x" * 30, "  ", "...", "!!"], k=40
        )
        text, limit = " ".join(words), dice.randint(8, 40)
        parts = split(text, tokenizer=tokenizer, limit=limit)
        assert "".join("".join(parts).split()) == "".join(text.split())
        assert all(part == part.strip() and part for part in parts)
        assert all(len(tokenizer.encode(part)) <= limit for part in parts)


def test_cuts_are_behind_sentences_then_between_words() -> None:
    tokenizer = train_tokenizer(TEXTS, kind="bytes", vocab_size=300)
    assert split("One two. Three four! Five", tokenizer=tokenizer, limit=21) == ["One two. Three four!", "Five"]
    assert split("One two. Three four! Five", tokenizer=tokenizer, limit=20) == ["One two.", "Three four! Five"]
    assert split("One two three. Four", tokenizer=tokenizer, limit=9) == ["One two", "three.", "Four"]
    assert split("abcdefgh ij", tokenizer=tokenizer, limit=5) == ["abcd", "efgh", "ij"]
    assert split("He said “no.” Then 3.14 left", tokenizer=tokenizer, limit=24) == ["He said “no.”", "Then 3.14 left"]
    assert split("東京。大阪。", tokenizer=tokenizer, limit=10) == ["東京。", "大阪。"]


def test_parts_are_as_few_as_they_can_be_in_order(tokenizer: Tokenizer) -> None:
    """Two neighbouring parts never fit together, where they are made of whole sentences."""
    text = "It rains. Does it? " * 30
    parts = split(text, tokenizer=tokenizer, limit=40)
    for left, right in itertools.pairwise(parts):
        first = right.partition("? ")[0] if right.startswith("Does") else right.partition(". ")[0] + "."
        assert len(tokenizer.encode(f"{left} {first}")) > 40 or len(tokenizer.encode(f"{left} {first}?")) > 40


def test_parts_by_setting(tokenizer: Tokenizer) -> None:
    text = "It rains. Does it? " * 4
    ids = tokenizer.encode(text)
    for overflow in ("error", "truncate", "split"):
        found = pieces_of(text, ids, tokenizer=tokenizer, limit=len(ids), overflow=overflow, row=0)
        assert found.parts == [ids]
    cut = pieces_of(text, ids, tokenizer=tokenizer, limit=9, overflow="truncate", row=0)
    assert cut.parts == [[*ids[:8], tokenizer.end_id]]


@pytest.mark.parametrize("unit", ["a", "!", ". ", " ", "\n", '."', "。", "\u200d"])
def test_time_is_linear(unit: str) -> None:
    tokenizer = train_tokenizer(TEXTS, kind="bytes", vocab_size=300)
    began = time.process_time()
    split(unit * (100_000 // len(unit)), tokenizer=tokenizer, limit=1024)
    assert time.process_time() - began < 5
