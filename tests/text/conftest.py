"""Generated texts, and one tokenizer of each kind, trained once."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from antiphon.text import Tokenizer, train_tokenizer

KINDS = ("bpe", "unigram", "bytes", "characters", "words")

WRITTEN_OUT = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "<0xC3>",
    "<0x00>",
    "[CLS]",
    "▁",
    "Ġ",
    "Ċ",
    "@@",
    "##",
    "<extra_id_0>",
    "Â",
]
PLACES = [
    lambda rng: chr(rng.randrange(32, 127)),
    lambda rng: rng.choice(" \t\n\r\x0b\x0c\x1c\x85\u00a0\u2003\u2028\u3000\ufeff\u200b\u200d"),
    lambda rng: chr(rng.randrange(0, 0x250)),
    lambda rng: rng.choice("0123456789²½٣೯Ⅷ"),
    lambda rng: chr(rng.choice([rng.randrange(0x300, 0xD800), rng.randrange(0xE000, 0x10000)])),
    lambda rng: chr(rng.randrange(0x10000, 0x110000)),
    lambda rng: rng.choice(WRITTEN_OUT),
    lambda rng: rng.choice(["the", "hours", "Stunden", "é", "e\u0301", "日本", "👩‍👧", "שלום", "مارس"]) + " ",
]


def make_text(seed: int) -> str:
    """A text of 0 to 60 parts; each text has its own taste for some kinds of characters."""
    rng = random.Random(f"text {seed}")
    places = rng.choices(PLACES, k=3)
    return "".join(rng.choice(places)(rng) for _ in range(rng.choice((0, 1, 2, 5, 20, 60))))


def corpus() -> list[str]:
    rng = random.Random("corpus")
    sentence = "in the a of hours days ago Stunden vor Tagen März Straße café 日本 年 مارس 10 25 1,234.50 €"
    return [" ".join(rng.choices(sentence.split(), k=rng.randint(1, 8))) for _ in range(400)]


@pytest.fixture(scope="session")
def texts() -> Callable[[int], str]:
    """seed -> a generated text, without lone surrogates."""
    return make_text


@pytest.fixture(scope="session")
def training_texts() -> list[str]:
    return corpus()


@pytest.fixture(scope="session", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """One tokenizer of each kind."""
    return train_tokenizer(corpus(), kind=request.param, vocab_size=320)
