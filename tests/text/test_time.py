"""The time for adversarial strings is linear in their length, at most 100 ms for 10 kB (acceptance row 14).

What reads a text before a model does: cleaning, tokenizers of each kind and streams of their pieces, sentences.
Documents: tests/documents/test_time.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from counts import count
from torture.figures import FigureRecorder

from antiphon.text import StreamDecoder, Tokenizer, clean_text
from antiphon.text.sentences import sentences

LONGEST = count("adversarial_characters")
LENGTHS = (LONGEST // 100, LONGEST // 10, LONGEST)
SECONDS_A_BYTE = 0.1 / 10_000
ADVERSARIAL: dict[str, str] = {
    "one letter": "a", "spaces": " ", "two letters": "ab", "letters and spaces": "ab ", "accents": "\u0301",
    "composed": "e\u0301", "line ends": "\r\n", "NUL": "\0", "joiners": "👩‍👧", "joiner alone": "\u200d",
    "right to left": "\u202eשלום ", "wide": "日本", "ligatures": "ﷺ", "not a character": "\ufffe",
    "special tokens": "</s><s><pad>", "bytes written out": "<0xC3>", "sentencepiece": "▁",
    "quotes": '"“([', "stops": "Dr. ",
    "digits": "9", "digits and stops": "1.", "brackets": "((((", "tags": "<b><p>", "jamo": "\u1100\u1161\u11a8",
    "markers": "\u0300\u0327\u0301", "planes": "\U0010ffff\U00010000", "mixed": "aB1 é日\u0301.\n",
}  # fmt: skip


def text_of(piece: str, length: int) -> str:
    return (piece * (length // len(piece) + 1))[:length]


def streamed(tokenizer: Tokenizer, text: str) -> None:
    stream = StreamDecoder(tokenizer)
    for id in tokenizer.encode(text)[:2000]:  # an answer is shorter than a source
        stream.push([id])
    stream.finish()


def least_seconds(read: Callable[[str], object], text: str, *, enough: float) -> float:
    """The processor time of the fastest of four tries; what is below `enough` is not tried again."""
    least = float("inf")
    for _ in range(4):
        began = time.process_time()
        read(text)
        least = min(least, time.process_time() - began)
        if least < enough:
            break
    return least


def check(read: Callable[[str], object], piece: str, figures: FigureRecorder) -> None:
    took = {}
    for length in LENGTHS:
        text = text_of(piece, length)
        size = len(text.encode("utf-8", "surrogatepass"))
        allowed = max(size * SECONDS_A_BYTE, 0.02)
        took[length] = least_seconds(read, text, enough=allowed / 3)
        assert took[length] < allowed, f"{length} characters of {piece!r} take {took[length]:.3f} s"
        if size >= 10_000:
            figures.most("ms for 10 kB", took[length] / size * 1e7)
    # Below 0.1 s the clock and the caches decide, and the bound above holds.
    assert took[LONGEST] < max(0.1, 3 * 10 * took[LONGEST // 10]), f"{piece!r} is not linear: {took}"
    figures.add("texts", len(LENGTHS))
    figures.most("characters", LONGEST)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_tokenizer(tokenizer: Tokenizer, name: str, figures: FigureRecorder) -> None:
    tokenizer.encode("a")
    check(lambda text: tokenizer.decode(tokenizer.encode(text)), ADVERSARIAL[name], figures)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_stream(tokenizer: Tokenizer, name: str, figures: FigureRecorder) -> None:
    check(lambda text: streamed(tokenizer, text), ADVERSARIAL[name], figures)


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("read", [clean_text, lambda text: list(sentences(text))], ids=["cleaning", "sentences"])
def test_cleaning_and_sentences(read: Callable[[str], object], name: str, figures: FigureRecorder) -> None:
    check(read, ADVERSARIAL[name], figures)
