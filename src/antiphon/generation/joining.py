"""Joins the answers to a source's parts."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace

from antiphon.generation.answers import Generation
from antiphon.search.hypotheses import Hypothesis
from antiphon.text import Tokenizer


def join_answers(
    parts: Sequence[list[Hypothesis]],
    gaps: Sequence[str],
    *,
    tokenizer: Tokenizer,
    prompt_length: int,
    hidden: int = 0,
) -> Generation:
    """The answer to a source with these parts and the white space before each: their first hypotheses joined, then
    their second ones as an alternative, and so on. The first `prompt_length` ids of a part are the prompt; the first
    `hidden` ids are a text that is not a part of the answer."""
    if not parts:
        return Generation(text="", tokens=[], score=0.0, confidence=1.0, finished=True)

    def joined(hypotheses: Sequence[Hypothesis]) -> Generation:
        score = sum(part.score for part in hypotheses)
        length = sum(len(part.ids) - max(prompt_length, hidden) for part in hypotheses)
        return Generation(
            text=join_texts((tokenizer.decode(part.ids[hidden:]) for part in hypotheses), gaps),
            tokens=[token for part in hypotheses for token in tokenizer.pieces(part.ids[hidden:])],
            score=score,
            confidence=math.exp(score / max(length, 1)),
            finished=all(part.finished for part in hypotheses),
        )

    first, *others = map(joined, zip(*parts, strict=False))
    return replace(first, alternatives=others)


def join_texts(texts: Iterable[str], gaps: Iterable[str]) -> str:
    """The answers to a source's parts as one text, joined by `space_between`."""
    joined = ""
    for place, (text, gap) in enumerate(zip(texts, gaps, strict=True)):
        joined += (space_between(joined, gap) if place else "") + text
    return joined


def space_between(before: str, gap: str) -> str:
    """The white space after the answer `before` of a part, if the source has `gap` there: `gap` itself; if it is empty,
    a space, unless the answer ends with a full-width character (Chinese, Japanese)."""
    return gap or ("" if before and unicodedata.east_asian_width(before[-1]) in "WF" else " ")
