"""What the elements of HTML mean for translation, and which of them are open."""

from __future__ import annotations

from typing import NamedTuple

from antiphon.documents.markup import Token, attributes, names

# Tags that end a segment. Every other one, unknown ones included, stands inside of a sentence.
BLOCK = names(
    "address article aside blockquote body button caption center col colgroup dd details dialog dir div dl dt "
    "fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe "
    "input legend li link main menu menuitem meta nav noembed noframes noscript object ol optgroup option p param "
    "plaintext pre script search section select slot style summary table tbody td template textarea tfoot th "
    "thead title tr ul video audio canvas source track base xmp"
)
VOID = names("area base br col embed frame hr img input link meta param source track wbr")
LEFT = names("pre xmp plaintext")  # blocks that are not translated
COPIED = names("code kbd samp var tt")  # text inside a sentence that is not translated
OPAQUE = names("svg math")  # stands in a sentence as one thing, and its text is none of the sentence
_ENDS = {  # the open blocks that a start tag closes, which need no end tag
    **dict.fromkeys(
        names(
            "address article aside blockquote details div dl fieldset figure footer form h1 h2 h3 h4 h5 h6 header "
            "hgroup hr main menu nav ol p pre section table ul"
        ),
        names("p"),
    ),
    **dict.fromkeys(names("dt dd"), names("dt dd p")),
    **dict.fromkeys(names("td th"), names("td th p")),
    "li": names("li p"),
    "option": names("option"),
    "optgroup": names("option optgroup"),
    "tr": names("tr td th p"),
}


class Element(NamedTuple):
    """An open element. `mode` is for the text in it: translated, copied into the answer, left, or opaque."""

    name: str
    mode: str
    is_block: bool


class OpenElements:
    """The elements that are open, innermost last. Each tag takes constant time, spread over all tags."""

    def __init__(self) -> None:
        self._stack: list[Element] = []
        self._blocks: list[int] = []  # where the blocks are in the stack
        self._counts: dict[str, int] = {}

    @property
    def mode(self) -> str:
        """`translated`, `copied`, `left` or `opaque`."""
        return self._stack[-1].mode if self._stack else "translated"

    def open(self, token: Token) -> None:
        """A start tag."""
        name = token.name
        if self.mode == "opaque" and name in _ENDS:  # HTML inside of a picture or formula ends it
            while self.mode == "opaque":
                self._drop_to(len(self._stack) - 1)
        is_block = name in BLOCK and self.mode != "opaque"
        ends = _ENDS.get(name, ())
        while self._blocks and self._stack[self._blocks[-1]].name in ends:
            self._drop_to(self._blocks[-1])
        if name in VOID or (token.raw.endswith("/>") and not is_block):
            return
        if is_block:
            self._blocks.append(len(self._stack))
        self._counts[name] = self._counts.get(name, 0) + 1
        self._stack.append(Element(name, self._mode_of(token, is_block), is_block))

    def close(self, name: str) -> None:
        """An end tag; one without an open element means nothing."""
        if not self._counts.get(name):
            return
        while self._stack[-1].name != name:
            self._drop_to(len(self._stack) - 1)
        self._drop_to(len(self._stack) - 1)

    def _drop_to(self, size: int) -> None:
        while len(self._stack) > size:
            element = self._stack.pop()
            self._counts[element.name] -= 1
            if element.is_block:
                self._blocks.pop()

    def _mode_of(self, token: Token, is_block: bool) -> str:
        around = self.mode
        if around == "opaque":
            return around
        stays = "left" if is_block or around == "left" else "copied"
        if "translate" in token.raw.lower():
            found = {one.name: token.raw[one.start : one.end].strip().lower() for one in attributes(token.raw)}
            if found.get("translate") == "no" or "notranslate" in found.get("class", "").split():
                return stays
            if found.get("translate") in ("yes", "") and "translate" in found:
                return "translated"
        if token.name in OPAQUE:
            return "opaque"
        if token.name in LEFT or (is_block and around != "translated"):
            return "left"
        return "copied" if token.name in COPIED and around == "translated" else around
