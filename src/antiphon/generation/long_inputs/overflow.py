"""Sources that are longer than the model takes: an error, the first tokens, parts that each fit, or the whole, which
the model reads in windows, as `overflow` says.

    prepare("a long text …", ids, tokenizer=tokenizer, limit=1024, overflow="split", row=0)     # [ids, ids, ...]

A text is cut behind sentences where that suffices, else between words, else anywhere; between the parts' answers stands
the white space that stood between the parts. The tags and prefixes before a text are put before each of its parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from antiphon.errors import DataError
from antiphon.generation.long_inputs.leading_text import front_of
from antiphon.search.limits import check_source
from antiphon.settings import show
from antiphon.text import Tokenizer
from antiphon.text.sentences import cut, sentences

_WORD_END = re.compile(r"\s+")


class SourceParts(NamedTuple):
    """The parts of a source as ids, and the white space that stood before each, which is none before the first."""

    parts: list[list[int]]
    gaps: list[str]


def pieces_of(
    text: str,
    ids: list[int],
    *,
    tokenizer: Tokenizer,
    limit: int,
    overflow: str,
    row: int,
    fronts: Sequence[str] = (),
    back: str = "",
    most: int | None = None,
) -> SourceParts:
    """The parts of a source, each at most `limit` long; one part where `ids` fit. `row` and `most`, the network's
    `max_length` (None: it is the limit), are for the error.

    `fronts` are the prefixes that the model knows: each part of a text that begins with one begins with it. Likewise
    each part of a text that ends with `back`, the end of the model's template, ends with it.
    """
    if len(ids) <= limit or overflow == "window":
        return SourceParts([ids], [""])
    if overflow == "truncate":
        ending = tokenizer.frame[1]
        return SourceParts([[*ids[: max(limit - len(ending), 0)], *ending][:limit]], [""])
    if overflow == "split":
        frame = _Frame.of(text, fronts, back)
        around = frame.front + frame.back
        taken = len(tokenizer.encode(around))
        if around and taken >= limit:
            where = "around" if frame.back else "before"
            raise DataError(
                f"what stands {where} each part of input {row + 1} must have fewer tokens than a part ({limit}), but "
                f"{show(around)} has {taken}. Shorten it, or raise `max_source_tokens`."
            )
        bodies = frame.parts(tokenizer, limit, tokenizer.language)
        return SourceParts(tokenizer.encode_batch([frame.around(body) for body in bodies]), _gaps(text, bodies))
    check_source(ids, limit, most=most or limit, row=row)
    return SourceParts([ids], [""])


def prepare(
    text: str, ids: list[int], *, tokenizer: Tokenizer, limit: int, overflow: str, row: int, most: int | None = None
) -> list[list[int]]:
    """The parts of `pieces_of` alone."""
    return pieces_of(text, ids, tokenizer=tokenizer, limit=limit, overflow=overflow, row=row, most=most).parts


def split(
    text: str, *, tokenizer: Tokenizer, limit: int, fronts: Sequence[str] = (), language: str | None = None
) -> list[str]:
    """`text` in parts of at most `limit` tokens each, the white space between parts apart; a character is never cut.

    Each part begins with the tags and prefixes that `text` begins with (`fronts.front_of`). `language` is a code (None:
    the tokenizer's language, else English), by which abbreviations are known from ends of sentences.
    """
    frame = _Frame.of(text, fronts, "")
    return [frame.around(body) for body in frame.parts(tokenizer, limit, language or tokenizer.language)]


class _Frame(NamedTuple):
    """A text, and what stands before and behind each of its parts."""

    front: str
    body: str
    back: str

    @classmethod
    def of(cls, text: str, fronts: Sequence[str], back: str) -> _Frame:
        text, back = text.strip(), back.rstrip()
        front = front_of(text, fronts)
        body = text[len(front) :]
        if not back or not body.endswith(back):
            return cls(front, body, "")
        return cls(front, body.removesuffix(back), back)

    def around(self, body: str) -> str:
        return f"{self.front}{body}{self.back}"

    def parts(self, tokenizer: Tokenizer, limit: int, language: str | None) -> list[str]:
        """The parts of the body that fit with what stands around them."""
        packer = _Packer(tokenizer, limit, self)
        return [part for part in packer.pack(list(sentences(self.body, language)), by_words=False) if part]


def _gaps(text: str, parts: Sequence[str]) -> list[str]:
    """What stands in `text` before each of its `parts` but the first."""
    gaps, end = [], 0
    for part in parts:
        start = text.index(part, end)
        gaps.append(text[end:start] if gaps else "")
        end = start + len(part)
    return gaps


class _Packer:
    """Joins pieces of a text as long as they fit in `frame`."""

    def __init__(self, tokenizer: Tokenizer, limit: int, frame: _Frame) -> None:
        self.tokenizer, self.limit, self.frame = tokenizer, limit, frame

    def fits(self, text: str) -> bool:
        return len(self.tokenizer.encode(self.frame.around(text))) <= self.limit

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
                yield from self.pack(cut(pieces[first], _WORD_END), by_words=True)
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
