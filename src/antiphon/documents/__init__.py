"""Texts and files as people have them: segments for a model, and the answers put back in their places.

    document = read_html("<p>See <b>{name}</b>.</p>", language="en", protection=Protection(["placeholders"]))
    answers = [SegmentAnswer(...) for segment in document.segments]      # from any model
    again = [SegmentAnswer(...) for segment in document.repairs(answers)]
    document.join(answers, again).content                                # a str; of `read_file` bytes

`document.segments` may be long: a model needs `overflow: split` to read a sentence beyond its limit. Nothing here
knows a model.
"""

from __future__ import annotations

from antiphon.documents.document import Document
from antiphon.documents.files import FORMATS, read_file
from antiphon.documents.html import ATTRIBUTES, read_html
from antiphon.documents.protection import KINDS, Protection
from antiphon.documents.segments import AlignedSpan, Joined, JoinedSegment, Segment, SegmentAnswer
from antiphon.documents.texts import read_text

__all__ = [
    "ATTRIBUTES",
    "AlignedSpan",
    "Document",
    "FORMATS",
    "Joined",
    "JoinedSegment",
    "KINDS",
    "Protection",
    "Segment",
    "SegmentAnswer",
    "read_file",
    "read_html",
    "read_text",
]
