"""Sources that are longer than the model takes: an error, the first tokens, or parts that each fit, as `overflow` says.

    prepare("a long text …", ids, tokenizer=tokenizer, limit=1024, overflow="split", row=0)     # [ids, ids, ...]

A text is cut behind sentences where that suffices, else between words, else anywhere; the parts' answers are joined by a space.
"""

from __future__ import annotations

import re

from antiphon.generation.engine import check_length
from antiphon.text import Tokenizer

# What a text is cut into, the coarsest first: sentences (an end mark and the space behind it, or a line's end), then words.
_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"'”’)\]]*\s+|[。！？]+|\n+|$)", re.DOTALL)
_WORD = re.compile(r"\s*\S+\s*|\s+")


def prepare(text: str, ids: list[int], *, tokenizer: Tokenizer, limit: int, overflow: str, row: int) -> list[list[int]]:
    """The parts of a source as ids, each at most `limit` long; nearly always the one part `ids`. DataError if `overflow` is "error"."""
    if len(ids) <= limit:
        return [ids]
    if overflow == "truncate":
        ending = [id for id in ids[-1:] if id == tokenizer.end_id]
        return [ids[: limit - len(ending)] + ending]
    if overflow == "split":
        return [part for part in tokenizer.encode_batch(split(text, tokenizer=tokenizer, limit=limit)) if part]
    check_length(ids, limit, what=f"input {row + 1}")
    return [ids]


def split(text: str, *, tokenizer: Tokenizer, limit: int) -> list[str]:
    """`text` in parts of at most `limit` tokens each, the space between parts apart; a single character is never cut."""

    def sizes(parts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer.encode_batch(part.strip() for part in parts)]

    pieces = [text]
    for pattern in (_SENTENCE, _WORD):
        finer: list[str] = []
        for piece, size in zip(pieces, sizes(pieces), strict=True):
            finer += [piece] if size <= limit else pattern.findall(piece)
        pieces = finer
    packed: list[str] = []
    room = 0
    for piece, size in zip(pieces, sizes(pieces), strict=True):
        # Tokens never span a cut, so that sizes add up, but for tokenizers with rules of their own: see _fit.
        if packed and size <= room:
            packed[-1] += piece
            room -= size
        else:
            packed.append(piece)
            room = limit - size
    return [part for piece in packed for part in _fit(piece.strip(), tokenizer=tokenizer, limit=limit) if part]


def _fit(piece: str, *, tokenizer: Tokenizer, limit: int) -> list[str]:
    """A piece that fits as it is, else halved until its parts do."""
    if len(piece) < 2 or len(tokenizer.encode(piece)) <= limit:
        return [piece]
    # Near the middle at a space if there is one.
    middle = len(piece) // 2
    space = piece.rfind(" ", 1, middle + 1)
    cut = space if space > len(piece) // 4 else middle
    halves = (piece[:cut].strip(), piece[cut:].strip())
    return [part for half in halves for part in _fit(half, tokenizer=tokenizer, limit=limit)]
