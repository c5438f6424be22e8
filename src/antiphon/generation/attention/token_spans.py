"""The characters of a text that each of its tokens stands for, whatever the tokenizer.

>>> token_spans(tokenizer, tokenizer.alone("in 3 hours"), "in 3 hours")     # tokens "▁in", "▁3", "▁hours"
[(0, 2), (2, 4), (4, 10)]

The texts of the tokens are compared with the text, character by character. Where a tokenizer changes texts (case,
Unicode form, unknown tokens), both are compared without case and accents, by their longest common stretches.
"""

from __future__ import annotations

import codecs
import difflib
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from antiphon.text import Tokenizer

Span = tuple[int, int]
_SPACE = "▁"  # how sentencepiece writes a space
MAX_COMPARED = 4000  # characters of a text that is compared by stretches, which takes quadratic time


class _Char(NamedTuple):
    """A character of the tokens' texts, with the first and the last token that it is a part of."""

    char: str
    first: int
    last: int


def token_spans(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> list[Span | None]:
    """[start, end) in `text` of each of `ids`, its encoding; None for special tokens. White space that a token begins
    with belongs to it. A token of a part of a character has the whole character."""
    chars = list(_chars(tokenizer, ids))
    places = _same_places(chars, text) or _similar_places(chars, text)
    spans: list[Span | None] = [None] * len(ids)
    for char, place in zip(chars, places, strict=True):
        if place is not None:
            for token in range(char.first, char.last + 1):
                start, end = spans[token] or (place, place + 1)
                spans[token] = (min(start, place), max(end, place + 1))
    return _filled(spans, ids, tokenizer, len(text))


def _chars(tokenizer: Tokenizer, ids: Sequence[int]) -> Iterator[_Char]:
    """The characters that tokens write, in order; an unknown token writes U+FFFD."""
    decoder, first = codecs.getincrementaldecoder("utf-8")("replace"), 0
    begun = False
    for token, id in enumerate(ids):
        for byte in _bytes_of(tokenizer, id):
            first = first if begun else token
            found = decoder.decode(bytes([byte]))
            begun = not found
            for char in found:
                yield _Char(char, first, token)


def _bytes_of(tokenizer: Tokenizer, id: int) -> bytes:
    """The UTF-8 that a token writes; nothing for a special one."""
    vocabulary = tokenizer.vocabulary
    if id == vocabulary.specials.unk:
        return "\ufffd".encode()
    if id in vocabulary.specials.control or not 0 <= id < vocabulary.size:
        return b""
    if vocabulary.table is not None:
        return vocabulary.table.bytes([id])
    piece = vocabulary.piece(id)
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes.fromhex(piece[3:5])
    return piece.replace(_SPACE, " ").encode(errors="replace")


def _same_places(chars: Sequence[_Char], text: str) -> list[int | None] | None:
    """The place in the text of each character, if they are the same but for white space; else None."""
    places: list[int | None] = []
    at = 0
    for char in chars:
        if char.char.isspace():
            places.append(at if at < len(text) and text[at].isspace() else None)
            at += places[-1] is not None
            continue
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text) or text[at] != char.char:
            return None
        places.append(at)
        at += 1
    return places if not text[at:].strip() else None


def _similar_places(chars: Sequence[_Char], text: str) -> list[int | None]:
    """The place of each character, without case and accents; None for one that the text has not."""
    if max(len(chars), len(text)) > MAX_COMPARED:  # by relative position
        return [place * len(text) // max(len(chars), 1) for place in range(len(chars))]
    ours, our_places = _folded([char.char for char in chars])
    theirs, their_places = _folded(list(text))
    places: list[int | None] = [None] * len(chars)
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    for a, b, size in matcher.get_matching_blocks():
        for i in range(size):
            places[our_places[a + i]] = their_places[b + i]
    return places


def _folded(chars: Sequence[str]) -> tuple[str, list[int]]:
    """Characters without case and accents, and which character each comes from."""
    found, places = [], []
    for place, char in enumerate(chars):
        plain = unicodedata.normalize("NFKD", char).casefold()
        bare = [part for part in plain if not unicodedata.combining(part)] or list(plain)
        found += bare
        places += [place] * len(bare)
    return "".join(found), places


def _filled(spans: list[Span | None], ids: Sequence[int], tokenizer: Tokenizer, length: int) -> list[Span | None]:
    """The spans, where an unknown token gets the characters between its neighbours."""
    unk = tokenizer.vocabulary.specials.unk
    after = [length] * (len(spans) + 1)  # where the next token with a span begins
    for place in range(len(spans) - 1, -1, -1):
        span = spans[place]
        after[place] = after[place + 1] if span is None else span[0]
    end = 0
    for place, id in enumerate(ids):
        if spans[place] is None and id == unk and end < after[place + 1]:
            spans[place] = (end, after[place + 1])
        end = max(end, (spans[place] or (0, 0))[1])
    return spans
