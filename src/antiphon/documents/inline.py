"""The text between two block tags, as a reader sees it, with the tags inside and the way back to the source."""

from __future__ import annotations

import html
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from antiphon.documents.markup import Token
from antiphon.documents.protection import DocumentProtection, Protected
from antiphon.documents.splitting import sentence_spans
from antiphon.documents.texts import all_kept, within
from antiphon.documents.units import Escape, Pieces, Tag, Unit, escape_text

_PIECE = re.compile(
    r"(?P<space>[\t\n\f\r ]+)|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?"
    r"|(?P<plain>[^&\t\n\f\r ]+|&)"
)
_PLAIN_PIECE = re.compile(r"(?P<space>[\t\n\f\r ]+)|(?P<plain>[^\t\n\f\r ]+)")  # a text without entities
MAX_REQUIRED_CHARACTERS = 80  # of copied text that is a required phrase of the search too
Kind = Literal["open", "close", "single"]
Between = Callable[[int, int], Pieces]


@dataclass
class _InlineTag:
    """A tag before character `offset` of the text, from `start` to `end` in the source; `pair` is the tag that opens or
    closes its element, -1 without one. `changed`: what it is in another answer than the source."""

    offset: int
    start: int
    end: int
    kind: Kind
    name: str
    after_space: bool
    is_space: bool = False
    space_behind: bool = False
    pair: int = -1
    formats: tuple[frozenset[str], frozenset[str]] | None = None
    changed: str | None = None


class InlineText:
    """Text with tags. White space is one space and entities are characters, as a browser shows them; a no-break space
    is a space here, and comes back between the same words, or behind the same number."""

    def __init__(self, *, entities: bool = True) -> None:
        self._piece = _PIECE if entities else _PLAIN_PIECE
        self._text: list[str] = []
        self._starts, self._ends = array("q"), array("q")  # of each character of the text, in the source
        self._tags: list[_InlineTag] = []
        self._open: dict[str, list[int]] = {}
        self._copied: list[tuple[int, int]] = []
        self._last = ""  # the last character

    def __len__(self) -> int:
        """The number of characters."""
        return len(self._starts)

    def add_text(self, raw: str, start: int, *, copied: bool = False) -> None:
        """Text at character `start` of the source. `copied`: it stays in the answer as it is."""
        first = len(self._starts)
        for match in self._piece.finditer(raw):
            a, b = start + match.start(), start + match.end()
            if match.lastgroup == "space":
                if self._last not in ("", " "):
                    self._add(" ", a, b)
                elif self._tags and self._tags[-1].offset == len(self._starts):
                    self._tags[-1].space_behind = True
            elif match.lastgroup == "plain":
                self._text.append(match[0])
                self._starts.extend(range(a, b))
                self._ends.extend(range(a + 1, b + 1))
                self._last = match[0][-1]
            else:
                self._add(html.unescape(match[0]), a, b)
        if copied and len(self._starts) > first:
            before = self._copied.pop()[0] if self._copied and self._copied[-1][1] == first else first
            self._copied.append((before, len(self._starts)))

    def _add(self, text: str, start: int, end: int) -> None:
        """Characters that stand together for [start, end) of the source."""
        self._text.append(text)
        self._starts.extend([start] * len(text))
        self._ends.extend([end] * len(text))
        self._last = text[-1:] or self._last

    def add_tag(self, token: Token, kind: Kind, *, is_space: bool = False) -> None:
        """A tag, comment or the like. `is_space`: it separates words, as white space does."""
        tag = _InlineTag(
            len(self._starts),
            token.start,
            token.start + len(token.raw),
            kind,
            token.name,
            self._last == " ",
            is_space,
        )
        if kind == "open":
            self._open.setdefault(token.name, []).append(len(self._tags))
        elif kind == "close" and self._open.get(token.name):
            tag.pair = self._open[token.name].pop()
            self._tags[tag.pair].pair = len(self._tags)
        self._tags.append(tag)
        if is_space and self._last not in ("", " "):
            self._add(" ", tag.start, tag.end)

    def extend_tag(self, end: int) -> None:
        """Let the last tag go on to `end` of the source."""
        self._tags[-1].end = end

    def add_separator(
        self,
        raw: str,
        start: int,
        *,
        is_space: bool,
        changed: str,
        formats: tuple[frozenset[str], frozenset[str]],
    ) -> None:
        """Markup between two texts of other formats. `changed` stands for it in another answer than the source."""
        self.add_tag(Token("other", raw, start), "single", is_space=is_space)
        self._tags[-1].formats, self._tags[-1].changed = formats, changed

    def add_break(self, token: Token) -> bool:
        """A line break, which separates words. True for the second of two, which ends the paragraph."""
        before = self._tags[-1] if self._tags else None
        again = before is not None and before.is_space and self._last == " " and len(self._starts) - before.offset <= 1
        self.add_tag(token, "single", is_space=True)
        return again

    def units(
        self, language: str | None, protection: DocumentProtection, between: Between, escape: Escape = escape_text
    ) -> Iterator[tuple[Unit, int]]:
        """The units of the sentences, in order, each with its end in the source. `between` gives the pieces of a
        stretch of the source."""
        whole = "".join(self._text)
        text = whole.replace("\xa0", " ")
        protected = self._protected(text, protection)
        taken = 0  # the tags before are done
        for a, b in sentence_spans(text, language, [(one.start, one.end) for one in protected]):
            own = within(protected, a, b)
            if all_kept(text[a:b], own):
                continue
            first, last = self._tags_of(a, b, taken)
            taken = last
            tags = self._tags[first:last]
            start, end = self._starts[a], self._ends[b - 1]
            if tags:
                start, end = min(start, tags[0].start), max(end, tags[-1].end)
            yield (
                Unit(
                    text[a:b],
                    between(start, end),
                    start,
                    escape,
                    tuple(_unit_tag(tag, a, between) for tag in tags),
                    own,
                    _no_breaks(whole[a:b]),
                ),
                end,
            )

    def _protected(self, text: str, protection: DocumentProtection) -> list[Protected]:
        """The copied stretches, and what is protected between them."""
        found, copied, place = [], self._copied, 0
        for one in protection.find(text):
            while place < len(copied) and copied[place][1] <= one.start:
                found.append(_copy(text, *copied[place]))
                place += 1
            if place == len(copied) or one.end <= copied[place][0]:
                found.append(one)
        return [*found, *(_copy(text, *span) for span in copied[place:])]

    def _tags_of(self, a: int, b: int, taken: int) -> tuple[int, int]:
        """The tags [first, last) that belong to the sentence [a, b): those inside of it, and those at its ends whose
        element begins or ends inside."""
        first = taken
        while first < len(self._tags) and self._tags[first].offset < a:
            first += 1
        inner = first
        while inner < len(self._tags) and self._tags[inner].offset == a:
            inner += 1
        last = inner
        while last < len(self._tags) and self._tags[last].offset < b:
            last += 1
        begin = next((i for i in range(first, inner) if inner <= self._tags[i].pair < last), inner)
        end = last
        for i in range(last, len(self._tags)):
            if self._tags[i].offset > b:
                break
            if self._tags[i].kind == "close" and self._tags[i].pair >= begin:
                end = i + 1
        return begin, end


def _unit_tag(tag: _InlineTag, a: int, between: Between) -> Tag:
    pieces = between(tag.start, tag.end) if tag.changed is None else (tag.changed,)
    after = tag.after_space, tag.is_space, tag.space_behind
    return Tag(tag.offset - a, pieces, tag.kind, tag.name, tag.formats, *after)


def _copy(text: str, start: int, end: int) -> Protected:
    required = end - start <= MAX_REQUIRED_CHARACTERS
    return Protected(start, end, text[start:end], exactly=False, required=required)


def _no_breaks(text: str) -> tuple[str, ...]:
    """Texts of the sentence in whose copies a space is a no-break space: a number with the space behind it, or two
    words with the space between them."""
    found = []
    for match in re.finditer(r"(?<!\S)([^\s]+)\xa0([^\s]+)", text):
        number = any(char.isdigit() for char in match[1])
        found += [f"{match[1]} "] if number else [f"{match[1]} {match[2]}"]
    return tuple(dict.fromkeys(found))
