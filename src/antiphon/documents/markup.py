"""Markup cut into tokens that together are the text, character for character.

>>> [token.raw for token in tokens('<p>Tom &amp; <b class="x">Jerry</b> < 3')]
['<p>', 'Tom &amp; ', '<b class="x">', 'Jerry', '</b>', ' < 3']

It follows the states of the tokenizer of the HTML standard (13.2.5) and takes linear time. `html.parser` gives no
source text of end tags, comments and declarations, has had inputs of quadratic time (CVE-2025-6069), and reads
malformed markup differently from one patch of Python to the next. Libraries that build a tree (lxml, html5lib) write
it again in a form of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple


def names(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())


RAW = names("script style xmp iframe noembed noframes textarea title")  # their content is text up to their end tag
_SPACE = r"[\t\n\f\r ]"
_ATTRIBUTE = (
    r"[\t\n\f\r /]*+(?:=?[^\t\n\f\r />=]++|=)"
    rf"(?:{_SPACE}*+={_SPACE}*+(?:\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\t\n\f\r >]*+))?+"
)
_TAG = re.compile(rf"<(/?)([A-Za-z][^\t\n\f\r />]*+)(?:{_ATTRIBUTE})*+[\t\n\f\r /]*+>")
_ATTRIBUTES = re.compile(
    r"[\t\n\f\r /]*+(?P<name>=?[^\t\n\f\r />=]++|=)"
    rf"(?:{_SPACE}*+={_SPACE}*+(?:\"(?P<double>[^\"]*+)\"|'(?P<single>[^']*+)'|(?![\"'])(?P<bare>[^\t\n\f\r >]*+)))?+"
)
_OTHER = re.compile(r"<!-->|<!--->|<!--|<[!?]|</(?![A-Za-z])(?=.)", re.DOTALL)
_COMMENT_END = re.compile(r"--!?>")


class Token(NamedTuple):
    """A piece of markup from character `start`. `name` is a tag's, in lower case. `raw_text` is the content of an
    element of RAW, `other` a comment, a declaration, or the rest behind a tag without end."""

    kind: Literal["text", "open", "close", "raw_text", "other"]
    raw: str
    start: int
    name: str = ""


class Attribute(NamedTuple):
    """An attribute of a tag: its value's place in the tag, [start, end), and its quote, "" if it has none."""

    name: str
    start: int
    end: int
    quote: str


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text with markup. Their `raw` joined is the text."""
    place = begun = 0  # the text from `begun` on is not given yet
    while (place := text.find("<", place)) >= 0:
        token = _token_at(text, place)
        if token is None:
            place += 1
            continue
        if place > begun:
            yield Token("text", text[begun:place], begun)
        yield token
        place = begun = place + len(token.raw)
        if token.kind == "open" and token.name in RAW:
            end = re.compile(rf"</{token.name}(?=[\t\n\f\r />])", re.IGNORECASE).search(text, place)
            place = begun = end.start() if end else len(text)
            if begun > token.start + len(token.raw):
                yield Token("raw_text", text[token.start + len(token.raw) : begun], token.start + len(token.raw))
    if begun < len(text):
        yield Token("text", text[begun:], begun)


def attributes(tag: str) -> list[Attribute]:
    """The attributes of a start tag, the names in lower case; the first of each name counts."""
    name = re.match(r"<[A-Za-z][^\t\n\f\r />]*+", tag)
    assert name is not None
    found: dict[str, Attribute] = {}
    for match in _ATTRIBUTES.finditer(tag, name.end(), len(tag) - 1):
        kind = next((kind for kind in ("double", "single", "bare") if match[kind] is not None), None)
        start, end = match.span(kind) if kind else (match.end(), match.end())
        quote = {"double": '"', "single": "'"}.get(kind or "", "")
        found.setdefault(match["name"].lower(), Attribute(match["name"].lower(), start, end, quote))
    return list(found.values())


def _token_at(text: str, place: int) -> Token | None:
    """The tag, comment or the like at a `<`; None if it is text."""
    tag = _TAG.match(text, place)
    if tag is not None:
        return Token("close" if tag[1] else "open", tag[0], place, tag[2].lower())
    if re.compile("</?[A-Za-z]").match(text, place):  # no end: what follows is all inside of the tag
        return Token("other", text[place:], place)
    other = _OTHER.match(text, place)
    if other is None:
        return None
    if other[0] == "<!--":
        end = _COMMENT_END.search(text, other.end())
        stop = end.end() if end else len(text)
    elif other[0] in ("<!-->", "<!--->"):
        stop = other.end()
    else:
        stop = text.find(">", other.end()) + 1 or len(text)
    return Token("other", text[place:stop], place)
