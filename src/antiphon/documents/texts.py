"""Plain texts: each line is split into sentences; all white space between them stays."""

from __future__ import annotations

import bisect
import re
from dataclasses import replace

from antiphon.documents.document import Document
from antiphon.documents.protection import DocumentProtection, Protected, Protection
from antiphon.documents.splitting import is_worthy, sentence_spans
from antiphon.documents.units import Escape, Pieces, Unit

_LINE = re.compile(r"[^\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")


def read_text(text: str, *, language: str | None = None, protection: Protection | None = None) -> Document:
    """A plain text. A line end ends a sentence; what stands between sentences comes back character for character.

    `language` is that of the text, for the rules of its sentences (`antiphon.text.sentences`).
    """
    own = DocumentProtection(protection)
    return Document([lines_as_pieces(text, language, own)], own)


def lines_as_pieces(text: str, language: str | None, protection: DocumentProtection) -> Pieces:
    """The pieces of a plain text."""
    pieces: list[str | Unit] = []
    done = 0
    for line in _LINE.finditer(text):
        pieces.append(text[done : line.start()])
        pieces += text_pieces(line[0], language, protection, start=line.start())
        done = line.end()
    return (*pieces, text[done:])


def text_pieces(
    text: str, language: str | None, protection: DocumentProtection, *, start: int = 0, escape: Escape = str
) -> Pieces:
    """A text without markup as the pieces of its sentences. `start` is its place in the source, where it stands as
    `escape(text)`."""
    protected = protection.find(text)
    pieces: list[str | Unit] = []
    done = 0
    for first, last in sentence_spans(text, language, [(one.start, one.end) for one in protected]):
        own = within(protected, first, last)
        if all_kept(text[first:last], own):
            continue
        gap, sentence = escape(text[done:first]), escape(text[first:last])
        pieces += [gap, Unit(text[first:last], (sentence,), start + len(gap), escape, protected=own)]
        start += len(gap) + len(sentence)
        done = last
    return (*pieces, escape(text[done:]))


def within(protected: list[Protected], start: int, end: int) -> tuple[Protected, ...]:
    """The protected strings of a sentence [start, end), with places in it."""
    found = []
    for place in range(bisect.bisect_left(protected, start, key=lambda one: one.start), len(protected)):
        one = protected[place]
        if one.end > end:
            break
        found.append(replace(one, start=one.start - start, end=one.end - start))
    return tuple(found)


def all_kept(sentence: str, protected: tuple[Protected, ...]) -> bool:
    """Whether a sentence is nothing but protected strings that stay as they are, so that no model is asked."""
    if not protected or any(one.output != sentence[one.start : one.end] for one in protected):
        return False
    bounds = [0, *(place for one in protected for place in (one.start, one.end)), len(sentence)]
    return not any(is_worthy(sentence[bounds[i] : bounds[i + 1]]) for i in range(0, len(bounds), 2))
