"""What a document asks for, what it is given, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self


class AlignedSpan(NamedTuple):
    """Characters [start, end) of a source and the characters of its answer that belong to them, with a weight between
    0 and 1."""

    source: tuple[int, int]
    target: tuple[int, int]
    weight: float = 1.0

    def as_json(self) -> dict[str, Any]:
        return {"source": list(self.source), "target": list(self.target), "weight": self.weight}

    @classmethod
    def of_json(cls, entry: Mapping[str, Any]) -> Self:
        """The inverse of `as_json`."""
        (a, b), (c, d) = entry["source"], entry["target"]
        return cls((int(a), int(b)), (int(c), int(d)), float(entry.get("weight", 1.0)))


@dataclass(frozen=True)
class Segment:
    """A text for the model: usually a sentence, without markup.

    `required` are phrases that the answer must contain, for the search setting of that name; at most 62. They help the
    search, the document itself checks the answers. Leave them out where the search takes none (sampling), or where the
    target's vocabulary cannot spell them. `needs_alignment`: tags stand inside, which the alignment places; without
    one they are placed by their relative positions.
    """

    text: str
    required: tuple[str, ...] = ()
    needs_alignment: bool = False


@dataclass(frozen=True)
class SegmentAnswer:
    """The answer to a segment, with its word alignment if it was asked for; characters of `Segment.text` and `text`."""

    text: str
    alignment: Sequence[AlignedSpan] = ()
    confidence: float | None = None

    @classmethod
    def of_json(cls, answer: Mapping[str, Any]) -> Self:
        """From the JSON object of an answer, as `antiphon generate --json` and the server write it."""
        spans = [AlignedSpan.of_json(entry) for entry in answer.get("alignment") or ()]
        return cls(answer["text"], spans, answer.get("confidence"))


@dataclass(frozen=True)
class JoinedSegment:
    """A segment with its answer. The spans are [start, end) in characters of the text that was read and of the result,
    markup included; in a .docx file, of the part of the archive that holds it. `confidence` is the least of its parts.
    """

    source: str
    target: str
    source_span: tuple[int, int]
    target_span: tuple[int, int]
    confidence: float | None = None


@dataclass(frozen=True)
class Joined:
    """A document with its answers. `content` is a text from `read_text` and `read_html`, the bytes of a file from
    `read_file`. `warnings` are for the user: segments that were left as they are."""

    content: str | bytes
    segments: list[JoinedSegment] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
