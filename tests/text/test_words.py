"""Ids by words equal the ids of whole texts, whatever the text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.text import Tokenizer, train_tokenizer, vocabulary
from antiphon.text.vocabulary import JsonVocabulary, WordIds

CORPUS = [
    "A man in a blue shirt is standing on 12 ladders, cleaning the window.",
    "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    "Des chiens qui jouent; l'eau n'est pas à 3½ m² — vraiment ?",
    "それは 東京 です。 Ελληνικά, русский язык; ไทย 한국어",
] * 3
PIECES = [
    *["a", "man's", "it'll", "'s", "12", "3½", "²", "<pad>", "</s>", "<de>", "<", "x<pad>y", "東京", "ไทย", "😀"],
    *["\u00a0", "\u3000", "\t", "\n", "\r", "\u2028", "\x1c", "\u200b", "\u0301", "e\u0301", "\u202f", "…"],
    *["A.", "(b)", "\ufeff", "\x00", "\U0001f469\u200d\U0001f467"],
]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(CORPUS, kind=request.param, vocab_size=400, symbols=["<de>", "x y"])


def whole(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """The ids as the library has them, a text at a time."""
    known = tokenizer.vocabulary
    assert isinstance(known, JsonVocabulary)
    return [row.ids for row in known._rust.encode_batch(texts, add_special_tokens=False)]


def by_words(tokenizer: Tokenizer) -> WordIds:
    known = tokenizer.vocabulary
    assert isinstance(known, JsonVocabulary) and known._words is not None
    return known._words


def test_odd_pieces_in_every_order(tokenizer: Tokenizer) -> None:
    chance = random.Random(0)
    texts = [
        chance.choice(["", " ", "  "]).join(chance.choice(PIECES) for _ in range(chance.randint(0, 6)))
        + chance.choice(["", "", " "])
        for _ in range(4000)
    ]
    assert by_words(tokenizer).encode(texts) == whole(tokenizer, texts)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=6))
def test_any_text(tokenizer: Tokenizer, parts: list[str]) -> None:
    texts = [" ".join(parts), "".join(parts), *parts]
    assert by_words(tokenizer).encode(texts) == whole(tokenizer, texts)


def test_the_store_is_bounded(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    words = by_words(tokenizer)
    monkeypatch.setattr(vocabulary, "MAX_LETTERS", 200)
    texts = [f"a{number} b{number * 7} c" for number in range(300)]
    for first in range(0, 300, 20):
        assert words.encode(texts[first : first + 20]) == whole(tokenizer, texts[first : first + 20])
        assert sum(map(len, words._known)) <= 200


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("bytes", {}), ("characters", {}), ("words", {}), ("bpe", {"lowercase": True}), ("bpe", {"normalize": "nfkc"})],
)
def test_others_are_encoded_as_a_whole(kind: str, settings: dict) -> None:
    made = train_tokenizer(CORPUS, kind=kind, vocab_size=400, **settings)
    known = made.vocabulary
    assert isinstance(known, JsonVocabulary) and known._words is None
