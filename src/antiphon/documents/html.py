"""HTML: the text of its blocks in sentences, with the inline tags inside of them.

Tags, attributes, comments and declarations stay as they are, and so does all text that is not translated. Scripts,
styles, `<pre>`, and elements with `translate="no"` or the class `notranslate` are left; `<code>` and the like inside a
sentence are copied into its answer.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from antiphon.documents.document import Document
from antiphon.documents.elements import BLOCK, VOID, OpenElements
from antiphon.documents.inline import InlineText
from antiphon.documents.markup import Token, attributes, tokens
from antiphon.documents.protection import DocumentProtection, Protection
from antiphon.documents.splitting import is_worthy
from antiphon.documents.units import Pieces, Unit, escape_attribute

ATTRIBUTES = ("title", "alt", "placeholder", "aria-label")


def read_html(
    text: str,
    *,
    language: str | None = None,
    protection: Protection | None = None,
    translated_attributes: Sequence[str] = (),
) -> Document:
    """A page or a part of one. Every tag comes back once, in its order; inline tags are placed by the alignment.

    `translated_attributes` names attributes whose values are translated too, usually `ATTRIBUTES`. Malformed markup is
    read as browsers read it; a tag without its end, and what stands behind it, is left.
    """
    own = DocumentProtection(protection)
    return Document([html_pieces(text, language, own, translated_attributes)], own)


def html_pieces(
    text: str, language: str | None, protection: DocumentProtection, translated_attributes: Sequence[str]
) -> Pieces:
    """The pieces of a page."""
    reader = _Reader(text, language, protection, frozenset(translated_attributes))
    for token in tokens(text):
        reader.take(token)
    return reader.finish()


class _Reader:
    """Collects the pieces of a page. `_inline` is the text since the last block's tag."""

    def __init__(self, text: str, language: str | None, protection: DocumentProtection, names: frozenset[str]) -> None:
        self._text, self._language, self._protection, self._names = text, language, protection, names
        self._elements = OpenElements()
        self._inline = InlineText()
        self._values: list[tuple[int, int, Pieces]] = []  # attribute values [start, end) that are translated
        self._pieces: list[str | Unit] = []
        self._done = 0
        self._last_tag = ""

    def take(self, token: Token) -> None:
        if token.kind == "text":
            self._take_text(token)
        elif token.kind in ("open", "close"):
            self._take_tag(token)
        elif token.kind == "raw_text":
            if self._elements.mode == "opaque":
                self._inline.add_tag(token, "single")
            elif self._last_tag == "title" and self._elements.mode == "translated":
                self._inline.add_text(token.raw, token.start)
        else:
            self._inline.add_tag(token, "single")

    def _take_text(self, token: Token) -> None:
        mode = self._elements.mode
        if mode in ("translated", "copied"):
            self._inline.add_text(token.raw, token.start, copied=mode == "copied")
        elif mode == "opaque":
            self._inline.add_tag(token, "single")
        else:
            self._flush()

    def _take_tag(self, token: Token) -> None:
        before = self._elements.mode
        if token.kind == "open":
            self._last_tag = token.name
            if self._names and before == "translated":
                self._take_attributes(token)
            self._elements.open(token)
        else:
            self._elements.close(token.name)
        if token.name in BLOCK and not before == self._elements.mode == "opaque":
            self._flush()
            return
        if token.name == "br":
            if self._inline.add_break(token):
                self._flush()
        elif token.kind == "open" and (token.name in VOID or token.raw.endswith("/>")):
            self._inline.add_tag(token, "single")
        else:
            self._inline.add_tag(token, "open" if token.kind == "open" else "close")

    def _take_attributes(self, token: Token) -> None:
        for name, start, end, quote in attributes(token.raw):
            if name in self._names and quote and is_worthy(token.raw[start:end]):
                value = InlineText()
                value.add_text(token.raw[start:end], token.start + start)
                pieces: list[str | Unit] = []
                done = token.start + start
                for unit, stop in value.units(self._language, self._protection, self._between, escape_attribute):
                    pieces += [self._text[done : unit.start], unit]
                    done = stop
                first, last = token.start + start, token.start + end
                self._values.append((first, last, (*pieces, self._text[done:last])))

    def _flush(self) -> None:
        """The sentences of the text so far become units."""
        for unit, end in self._inline.units(self._language, self._protection, self._between):
            self._pieces += [*self._between(self._done, unit.start), unit]
            self._done = end
        self._inline = InlineText()

    def _between(self, start: int, end: int) -> Pieces:
        """The source [start, end) as pieces: attribute values that are translated are units."""
        pieces: list[str | Unit] = []
        for place in range(bisect.bisect_left(self._values, (start,)), len(self._values)):
            first, last, inner = self._values[place]
            if last > end:
                break
            pieces += [self._text[start:first], *inner]
            start = last
        return (*pieces, self._text[start:end])

    def finish(self) -> Pieces:
        self._flush()
        return (*self._pieces, *self._between(self._done, len(self._text)))
