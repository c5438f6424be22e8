"""The answers of a source's parts as one text."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from antiphon.text import StreamDecoder, Tokenizer


def join_texts(texts: Iterable[str], gaps: Iterable[str]) -> str:
    """The answers of a source's parts as one text, as `space_between` says."""
    joined = ""
    for place, (text, gap) in enumerate(zip(texts, gaps, strict=True)):
        joined += (space_between(joined, gap) if place else "") + text
    return joined


def stream_texts(parts: Sequence[tuple[Iterator[list[int]], str]], tokenizer: Tokenizer) -> Iterator[str]:
    """What `join_texts` gives, in pieces as they are decoded, of parts as runs of ids and the gaps before them."""
    before = ""  # the last piece
    for place, (runs, gap) in enumerate(parts):
        decoder = StreamDecoder(tokenizer)
        pieces = itertools.chain(map(decoder.push, runs), (decoder.finish() for _ in range(1)))
        for piece in itertools.chain([space_between(before, gap)] if place else [], pieces):
            if piece:
                before = piece
                yield piece


def space_between(before: str, gap: str) -> str:
    """What stands behind the answer `before` of a part where the source has `gap`: the same white space; a space where
    it has none, unless the answer ends as texts without spaces do (Chinese, Japanese)."""
    return gap or ("" if before and unicodedata.east_asian_width(before[-1]) in "WF" else " ")
