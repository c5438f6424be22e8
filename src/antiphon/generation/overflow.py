"""Sources that are longer than the model takes: an error, the first tokens, parts that each fit, or the whole, which
the model reads in windows, as `overflow` says.

    prepare("a long text …", ids, tokenizer=tokenizer, limit=1024, overflow="split", row=0)     # [ids, ids, ...]

A text is cut behind sentences where that suffices, else between words, else anywhere; the parts' answers are joined by
a space.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from antiphon.generation.engine import check_length
from antiphon.text import Tokenizer

# Where a sentence ends: behind an end mark, what closes with it and its space; behind a full-width one; behind a line.
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？][」』”’）]*|\n+")
_WORD_END = re.compile(r"\s+")


def prepare(text: str, ids: list[int], *, tokenizer: Tokenizer, limit: int, overflow: str, row: int) -> list[list[int]]:
    """The parts of a source as ids, each at most `limit` long; one part where `ids` fit. `row` is for the error."""
    if len(ids) <= limit or overflow == "window":
        return [ids]
    if overflow == "truncate":
        ending = tokenizer.frame[1]
        return [[*ids[: max(limit - len(ending), 0)], *ending][:limit]]
    if overflow == "split":
        return tokenizer.encode_batch(split(text, tokenizer=tokenizer, limit=limit))
    check_length(ids, limit, what=f"input {row + 1}")
    return [ids]


def split(text: str, *, tokenizer: Tokenizer, limit: int) -> list[str]:
    """`text` in parts of at most `limit` tokens each, the space between parts apart; a character is never cut."""
    packer = _Packer(tokenizer, limit)
    return [part for part in packer.pack(_cut(text, _SENTENCE_END), by_words=False) if part]


class _Packer:
    """Joins pieces of a text as long as they fit."""

    def __init__(self, tokenizer: Tokenizer, limit: int) -> None:
        self.tokenizer, self.limit = tokenizer, limit

    def fits(self, text: str) -> bool:
        return len(self.tokenizer.encode(text)) <= self.limit

    def pack(self, pieces: list[str], *, by_words: bool) -> Iterator[str]:
        """Parts that fit, without the space around them, from pieces that are sentences or words."""
        first = 0
        while first < len(pieces):
            count = self._most(pieces, first)
            if count:
                yield "".join(pieces[first : first + count]).strip()
            elif by_words:
                yield from self._halves(pieces[first].strip())
            else:
                yield from self.pack(_cut(pieces[first], _WORD_END), by_words=True)
            first += max(count, 1)

    def _most(self, pieces: list[str], first: int) -> int:
        """How many pieces from `first` on fit together: doubled until they do not, then by bisection."""

        def fits(count: int) -> bool:
            return self.fits("".join(pieces[first : first + count]).strip())

        most, least_not = 0, 1
        while first + least_not <= len(pieces) and fits(least_not):
            most, least_not = least_not, 2 * least_not
        least_not = min(least_not, len(pieces) - first + 1)
        while least_not - most > 1:
            middle = (most + least_not) // 2
            most, least_not = (middle, least_not) if fits(middle) else (most, middle)
        return most

    def _halves(self, word: str) -> Iterator[str]:
        if len(word) < 2 or self.fits(word):
            yield word
            return
        middle = len(word) // 2
        yield from self._halves(word[:middle])
        yield from self._halves(word[middle:])


def _cut(text: str, ends: re.Pattern[str]) -> list[str]:
    """`text` cut behind each match of `ends`."""
    places = [0, *(match.end() for match in ends.finditer(text)), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places) if end > start]
