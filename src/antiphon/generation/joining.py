"""The answers of a source's parts as one text."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from antiphon.generation.answers import Generation
from antiphon.search.hypotheses import Hypothesis
from antiphon.text import StreamDecoder, Tokenizer


def join_answers(
    parts: Sequence[list[Hypothesis]], gaps: Sequence[str], *, tokenizer: Tokenizer, prompt_length: int
) -> Generation:
    """The answer of a source with these parts and the white space before each: their first hypotheses joined, then
    their second ones as an alternative, and so on. `prompt_length` first ids of a part are no answer."""
    if not parts:
        return Generation(text="", tokens=[], score=0.0, confidence=1.0, finished=True)

    def joined(hypotheses: Sequence[Hypothesis]) -> Generation:
        score = sum(part.score for part in hypotheses)
        length = sum(len(part.ids) - prompt_length for part in hypotheses)
        return Generation(
            text=join_texts((tokenizer.decode(part.ids) for part in hypotheses), gaps),
            tokens=[token for part in hypotheses for token in tokenizer.pieces(part.ids)],
            score=score,
            confidence=math.exp(score / max(length, 1)),
            finished=all(part.finished for part in hypotheses),
        )

    first, *others = map(joined, zip(*parts, strict=False))
    return replace(first, alternatives=others)


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
