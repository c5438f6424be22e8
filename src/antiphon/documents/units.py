"""A segment in its document: its text, its markup, and how its answer is put back."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from antiphon.documents.protection import DocumentProtection, Protected, copies_of, required_phrases
from antiphon.documents.segments import AlignedSpan, Segment, SegmentAnswer
from antiphon.documents.splitting import is_worthy
from antiphon.text import clean_text

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_CORE = re.compile(r"[^\W_](?:.*[^\W_])?", re.DOTALL)
_COPIED_WEIGHT = 4.0  # of the alignment of a protected string with its copy: more than any word's

Pieces = tuple["str | Unit", ...]
Escape = Callable[[str], str]


@dataclass(frozen=True)
class Tag:
    """Markup inside a segment, before character `offset` of its text. `pieces` are what it is in the result.

    `open` and `close` begin and end an element called `name`, `single` is neither. `formats` are the properties of the
    text before and behind it, where there are no elements. `after_space`: white space stands before it in the source.
    `is_space`: it separates words itself, as a line break does; the text has a space for it. `space_behind`: white
    space stands after it, and the text has none there.
    """

    offset: int
    pieces: Pieces
    kind: Literal["open", "close", "single"] = "single"
    name: str = ""
    formats: tuple[frozenset[str], frozenset[str]] | None = None
    after_space: bool = False
    is_space: bool = False
    space_behind: bool = False


@dataclass(frozen=True)
class Unit:
    """A segment. `pieces` are what it is in the source, with its tags; they are put back if the answer is `text`.

    `start` is the place of its first character in the source. `escape` makes the answer's text markup. In a copy of one
    of the texts `no_breaks`, the last space is a no-break space.
    """

    text: str
    pieces: Pieces
    start: int
    escape: Escape
    tags: tuple[Tag, ...] = ()
    protected: tuple[Protected, ...] = ()
    no_breaks: tuple[str, ...] = ()

    @property
    def segment(self) -> Segment:
        return Segment(self.text, required_phrases(self.protected), bool(self.tags))


def raw_length(pieces: Pieces) -> int:
    """The number of characters that pieces have in the source."""
    return sum(len(piece) if isinstance(piece, str) else raw_length(piece.pieces) for piece in pieces)


def cleaned(answer: SegmentAnswer, source: str) -> SegmentAnswer:
    """The answer without what would break the document: control characters that the source has not, such as line ends,
    become spaces, and lone surrogates U+FFFD. White space at the ends is cut off; all other characters keep their
    places. Spans outside of the texts are dropped."""
    text = clean_text(answer.text)
    if _CONTROL.search(text):
        text = _CONTROL.sub(lambda found: found[0] if found[0] in source else " ", text)
    before, size = len(text) - len(text.lstrip()), len(text.strip())
    spans = []
    for (a, b), (c, d), weight in answer.alignment:
        c, d = max(c - before, 0), min(d - before, size)
        if 0 <= a < b <= len(source) and c < d:
            spans.append(AlignedSpan((a, b), (c, d), weight))
    return SegmentAnswer(text.strip(), spans, answer.confidence)


def parts_to_ask(unit: Unit) -> list[tuple[int, int]]:
    """The stretches of the text between its protected strings, from the first to the last letter or digit of each."""
    found, start = [], 0
    for end, after in [*((one.start, one.end) for one in unit.protected), (len(unit.text), 0)]:
        core = _CORE.search(unit.text, start, end)
        if core is not None and is_worthy(core[0]):
            found.append(core.span())
        start = after
    return found


def is_complete(unit: Unit, answer: SegmentAnswer, check: DocumentProtection) -> bool:
    """Whether an answer can be used as it is."""
    return bool(answer.text) and check.holds(unit.text, unit.protected, answer.text)


def composed(unit: Unit, parts: Sequence[SegmentAnswer], check: DocumentProtection) -> SegmentAnswer:
    """The answer made of the protected strings and of the answers to the parts between them.

    Parts with an empty answer, or one that has protected strings too, are left as in the source.
    """
    asked = parts_to_ask(unit)
    given = {}
    for span, part in zip(asked, parts, strict=True):
        part = cleaned(part, unit.text[slice(*span)])
        if part.text and not check.counts(part.text):
            given[span] = part
    answer = _assemble(unit, given)
    # Two parts may form a protected string together.
    return answer if check.holds(unit.text, unit.protected, answer.text) else _assemble(unit, {})


def _assemble(unit: Unit, given: dict[tuple[int, int], SegmentAnswer]) -> SegmentAnswer:
    texts: list[str] = []
    spans: list[AlignedSpan] = []
    confidences = [part.confidence for part in given.values() if part.confidence is not None]
    place = length = 0

    def add(start: int, end: int, text: str, inner: Sequence[AlignedSpan] = (), weight: float = 1.0) -> None:
        nonlocal place, length
        gap = unit.text[place:start]
        texts.extend((gap, text))
        length += len(gap)
        if inner:
            for (a, b), (c, d), each in inner:
                spans.append(AlignedSpan((start + a, start + b), (length + c, length + d), each))
        elif text:
            spans.append(AlignedSpan((start, end), (length, length + len(text)), weight))
        length += len(text)
        place = end

    copies = [(one.start, one.end, one.output) for one in unit.protected]
    for start, end, output in sorted([*copies, *((*span, None) for span in given)], key=lambda entry: entry[:2]):
        if output is not None:
            add(start, end, output, weight=_COPIED_WEIGHT)
        else:
            part = given[start, end]
            add(start, end, part.text, part.alignment)
    texts.append(unit.text[place:])
    return SegmentAnswer("".join(texts), spans, min(confidences, default=None))


def with_copies(unit: Unit, answer: SegmentAnswer) -> SegmentAnswer:
    """The answer whose alignment has the protected strings with their copies too."""
    if not unit.protected or not unit.tags:
        return answer
    places: dict[str, list[tuple[int, int]]] = {}
    for match in reversed(list(copies_of(unit.protected).finditer(answer.text))):
        places.setdefault(match[0], []).append(match.span())
    spans = list(answer.alignment)
    for one in unit.protected:
        if places.get(one.output):
            spans.append(AlignedSpan((one.start, one.end), places[one.output].pop(), _COPIED_WEIGHT))
    return SegmentAnswer(answer.text, spans, answer.confidence)


def with_no_breaks(unit: Unit, answer: SegmentAnswer) -> SegmentAnswer:
    """The answer with the no-break spaces of `unit.no_breaks`; characters keep their places."""
    text = answer.text
    for copied in unit.no_breaks:
        head, _, tail = copied.rpartition(" ")
        text = re.sub(rf"(?<!\S){re.escape(head)} (?={re.escape(tail)})", lambda found: found[0][:-1] + "\xa0", text)
    return SegmentAnswer(text, answer.alignment, answer.confidence)


def escape_text(text: str) -> str:
    """Text of an HTML document: `& < >` and the no-break space are entities."""
    return html.escape(text, quote=False).replace("\xa0", "&nbsp;")


def escape_attribute(text: str) -> str:
    """A quoted attribute's value."""
    return html.escape(text, quote=True).replace("\xa0", "&nbsp;")
