"""Texts longer than the limit of a model. `overflow` selects: an error, the first tokens, parts that each fit, or the
whole text, which the model reads in windows.

    pieces_of("a long text …", ids, tokenizer=tokenizer, limit=1024, overflow="split", row=0).parts   # [ids, …]

A text is split after sentences if the parts fit, else between words, else anywhere. The answers are joined with the
white space that separated the parts. The tags and prefixes of a text are repeated before each part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from antiphon.errors import DataError
from antiphon.inputs.kind import SourceParts
from antiphon.inputs.leading_text import leading_text
from antiphon.inputs.limits import check_source
from antiphon.settings import show
from antiphon.text import Tokenizer
from antiphon.text.sentences import cut, sentences

_WORD_END = re.compile(r"\s+")


def pieces_of(
    text: str,
    ids: list[int],
    *,
    tokenizer: Tokenizer,
    limit: int,
    overflow: str,
    row: int,
    prefixes: Sequence[str] = (),
    suffix: str = "",
    most: int | None = None,
) -> SourceParts:
    """The parts of a source, each of at most `limit` tokens; one part if `ids` fit.

    `row` and `most`, the network's `max_length` (None: the limit), are for the error. `prefixes` are those of the
    model's training data: if a text begins with one, each of its parts does. Likewise, if a text ends with `suffix`,
    the end of the model's template, each of its parts does.
    """
    if len(ids) <= limit or overflow == "window":
        return SourceParts([ids], [""])
    if overflow == "truncate":
        return SourceParts([tokenizer.truncate(ids, limit)], [""])
    if overflow == "split":
        frame = _Frame.of(text, prefixes, suffix)
        around = frame.prefix + frame.suffix
        taken = len(tokenizer.encode(around))
        if around and taken >= limit:
            where = "around" if frame.suffix else "before"
            raise DataError(
                f"what stands {where} each part of input {row + 1} must have fewer tokens than a part ({limit}), but "
                f"{show(around)} has {taken}. Shorten it, or raise `max_source_tokens`."
            )
        bodies = frame.parts(tokenizer, limit, tokenizer.language)
        return SourceParts(tokenizer.encode_batch([frame.around(body) for body in bodies]), _gaps(text, bodies))
    check_source(ids, limit, most=most or limit, row=row)
    return SourceParts([ids], [""])


def split(
    text: str, *, tokenizer: Tokenizer, limit: int, prefixes: Sequence[str] = (), language: str | None = None
) -> list[str]:
    """`text` in parts of at most `limit` tokens each, without the white space between parts; characters are not split.

    Each part begins with the tags and prefixes of `text` (`leading_text`). `language` is a code (None: the tokenizer's
    language, else English); its rules distinguish abbreviations from ends of sentences.
    """
    frame = _Frame.of(text, prefixes, "")
    return [frame.around(body) for body in frame.parts(tokenizer, limit, language or tokenizer.language)]


class _Frame(NamedTuple):
    """A text with the prefix and suffix of each of its parts."""

    prefix: str
    body: str
    suffix: str

    @classmethod
    def of(cls, text: str, prefixes: Sequence[str], suffix: str) -> _Frame:
        text, suffix = text.strip(), suffix.rstrip()
        prefix = leading_text(text, prefixes)
        body = text[len(prefix) :]
        if not suffix or not body.endswith(suffix):
            return cls(prefix, body, "")
        return cls(prefix, body.removesuffix(suffix), suffix)

    def around(self, body: str) -> str:
        return f"{self.prefix}{body}{self.suffix}"

    def parts(self, tokenizer: Tokenizer, limit: int, language: str | None) -> list[str]:
        """The parts of the body that fit with prefix and suffix."""
        packer = _Packer(tokenizer, limit, self)
        return [part for part in packer.pack(list(sentences(self.body, language)), by_words=False) if part]


def _gaps(text: str, parts: Sequence[str]) -> list[str]:
    """The text before each of the `parts` of `text`; "" for the first."""
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
        """Parts that fit, stripped, from pieces that are sentences or words."""
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
        """The largest number of pieces from `first` on that fit together, found by doubling and bisection."""

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
