"""Where the sentences of a text are, without the white space around them.

>>> sentence_spans("Dr. Smith came.  He left.\\n", "en")
[(0, 15), (17, 25)]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from antiphon.text.sentences import sentences

MAX_SEGMENT_CHARACTERS = 1000  # a longer sentence is cut between words; what a model cannot read it splits itself
_WORTHY = re.compile(r"[^\W_]")  # a letter or a digit
_CLAUSE_END = re.compile(r"[,;:،、，；：–—]\s")
_SPACE = re.compile(r"\s")


def sentence_spans(text: str, language: str | None, keep: Sequence[tuple[int, int]] = ()) -> list[tuple[int, int]]:
    """The sentences of `text` as [start, end), in order, without white space at their ends.

    A sentence without a letter or digit is left out. None ends inside a span of `keep`, which are in order. A sentence
    of more than MAX_SEGMENT_CHARACTERS is cut after a comma or the like, or else between words; one without white
    space stays whole.
    """
    found, start, end = [], 0, 0
    inside = _Inside(keep)
    for sentence in sentences(text, language):
        end += len(sentence)
        if end < len(text) and inside(end):
            continue
        for first, last in _cut(text, start, end, keep):
            content = text[first:last]
            if _WORTHY.search(content):
                found.append((last - len(content.lstrip()), first + len(content.rstrip())))
        start = end
    return found


def is_worthy(text: str) -> bool:
    """Whether there is anything to translate: a letter or a digit."""
    return _WORTHY.search(text) is not None


class _Inside:
    """Whether a place is inside of one of the spans; the places that are asked for ascend."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self._spans, self._next = spans, 0

    def __call__(self, place: int) -> bool:
        while self._next < len(self._spans) and self._spans[self._next][1] <= place:
            self._next += 1
        return self._next < len(self._spans) and self._spans[self._next][0] < place


def _cut(text: str, start: int, end: int, keep: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """[start, end) in parts of about MAX_SEGMENT_CHARACTERS at most."""
    if end - start <= MAX_SEGMENT_CHARACTERS:
        yield start, end
        return
    inside = _Inside(keep)
    spaces = [place.start() for place in _SPACE.finditer(text, start, end) if not inside(place.start())]
    inside = _Inside(keep)
    clauses = {place.end() - 1 for place in _CLAUSE_END.finditer(text, start, end) if not inside(place.end() - 1)}
    at = 0
    while end - start > MAX_SEGMENT_CHARACTERS:
        best = clause = None
        while at < len(spaces) and (best is None or spaces[at] - start <= MAX_SEGMENT_CHARACTERS):
            if spaces[at] > start:
                best = spaces[at]
                clause = best if best in clauses and best - start > MAX_SEGMENT_CHARACTERS // 2 else clause
            at += 1
        if best is None:
            break
        cut = clause or best
        while at and spaces[at - 1] > cut:
            at -= 1
        yield start, cut
        start = cut
    yield start, end
