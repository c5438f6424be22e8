"""A document: segments to translate, and everything between them, which comes back as it was.

    document = read_text("One. Two.\\n", language="en")
    answers = translate(document.segments)
    again = translate(document.repairs(answers))      # parts of segments whose answer lost a protected string
    document.join(answers, again).content

The document does not know who translates. One object serves several sets of answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from antiphon.documents.placement import placed
from antiphon.documents.protection import DocumentProtection
from antiphon.documents.segments import Joined, JoinedSegment, Segment, SegmentAnswer
from antiphon.documents.units import (
    Pieces,
    Unit,
    cleaned,
    composed,
    is_complete,
    parts_to_ask,
    raw_length,
    with_copies,
    with_no_breaks,
)

Finish = Callable[[list[str]], bytes]


class Document:
    """`streams` are texts as pieces: strings that stay, and units. A document of `read_text` has one stream, a .docx
    file one for each part of the archive. `protection` is that with which they were read. `finish` makes a file of the
    new texts; None: the content is the one text.
    """

    def __init__(self, streams: Sequence[Pieces], protection: DocumentProtection, finish: Finish | None = None) -> None:
        self._streams, self._finish = streams, finish
        self._protection = protection

    @cached_property
    def _units(self) -> list[Unit]:
        return [unit for stream in self._streams for unit in _units_in(stream)]

    @property
    def segments(self) -> list[Segment]:
        """What is to be translated, in order; repeated texts are repeated."""
        return [unit.segment for unit in self._units]

    def repairs(self, answers: Sequence[SegmentAnswer]) -> list[Segment]:
        """The segments that are to be translated in addition: the text between the protected strings of each segment
        whose answer is empty, lacks one, or has it too often. `answers` are those to `segments`, in order."""
        found = []
        for unit, answer in zip(self._units, answers, strict=True):
            if unit.protected and not is_complete(unit, cleaned(answer, unit.text), self._protection):
                found += [Segment(unit.text[start:end], (), bool(unit.tags)) for start, end in parts_to_ask(unit)]
        return found

    def join(self, answers: Sequence[SegmentAnswer], repairs: Sequence[SegmentAnswer] = ()) -> Joined:
        """The document with the answers to `segments`, and those to `repairs(answers)`.

        An answer of nothing leaves its segment as it is, with a warning; so does a protected string that even the
        repairs would repeat. Without `repairs`, such segments are left as they are. Each protected string stands in
        the result as often as in the source. ValueError for another number of answers.
        """
        given, warnings, rest = {}, [], iter(repairs)
        for number, (unit, raw) in enumerate(zip(self._units, answers, strict=True), 1):
            answer = cleaned(raw, unit.text)
            if not is_complete(unit, answer, self._protection):
                again = list(_take(rest, len(parts_to_ask(unit)))) if unit.protected and repairs else []
                answer = composed(unit, again, self._protection) if again else SegmentAnswer(unit.text)
                if answer.text == unit.text:
                    why = "is empty" if not cleaned(raw, unit.text).text else "lacks or repeats a protected string"
                    warnings.append(f"segment {number} is left as it is, since its answer {why}.")
            given[id(unit)] = answer
        if next(rest, None) is not None:
            raise ValueError("`repairs` must be the answers to `document.repairs(answers)`, but are more.")
        joined: list[JoinedSegment] = []
        texts = ["".join(_written(stream, given, joined)) for stream in self._streams]
        content = texts[0] if self._finish is None else self._finish(texts)
        return Joined(content, joined, warnings)


def _units_in(pieces: Pieces) -> Iterator[Unit]:
    """The units of a stream in order, each before those within its tags."""
    for piece in pieces:
        if isinstance(piece, Unit):
            yield piece
            yield from _units_in(piece.pieces)


def _take(answers: Iterator[SegmentAnswer], count: int) -> Iterator[SegmentAnswer]:
    for _ in range(count):
        answer = next(answers, None)
        if answer is None:
            raise ValueError("`repairs` must be the answers to `document.repairs(answers)`, but are fewer.")
        yield answer


def _translated(unit: Unit, answer: SegmentAnswer) -> Pieces:
    return tuple(placed(unit, with_no_breaks(unit, with_copies(unit, answer))))


def _written(pieces: Pieces, given: dict[int, SegmentAnswer], joined: list[JoinedSegment]) -> list[str]:
    """The text of a stream, in parts; its segments are added to `joined` in the order of `_units_in`."""
    out: list[str] = []
    length = 0

    def write(pieces: Pieces) -> None:
        nonlocal length
        for piece in pieces:
            if isinstance(piece, str):
                out.append(piece)
                length += len(piece)
                continue
            answer, place, start = given[id(piece)], len(joined), length
            joined.append(JoinedSegment("", "", (0, 0), (0, 0)))  # its place in the order; filled in below
            write(piece.pieces if answer.text == piece.text else _translated(piece, answer))
            joined[place] = JoinedSegment(
                piece.text,
                answer.text,
                (piece.start, piece.start + raw_length(piece.pieces)),
                (start, length),
                answer.confidence,
            )

    write(pieces)
    return out
