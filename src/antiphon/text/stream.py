"""Incremental decoding of ids: text pieces that are final and, concatenated, equal `decode` of all ids.

>>> stream = StreamDecoder(tokenizer)                     # kind="bytes"
>>> [stream.push([199]), stream.push([173, 2]), stream.finish()]
['', 'é', '']
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from antiphon.text.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes one answer incrementally; special ids are skipped, as in `Tokenizer.decode`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._table = tokenizer.vocabulary.table
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strips = self._table is not None and self._table.strips
        self._ids: list[int] = []
        self._given = ""

    def push(self, ids: Sequence[int]) -> str:
        """Add `ids` and return the text that is now final. An incomplete character waits for its other bytes."""
        ids = self._tokenizer.visible(ids)
        if self._table is not None:
            return self._strip(self._bytes.decode(self._table.bytes(ids)))
        # Other decoders: the end of the text may still change, for example an incomplete character or a space.
        self._ids += ids
        text = self._tokenizer.decode(self._ids).rstrip("\ufffd \t\n\r")
        return self._give(text) if text.startswith(self._given) else ""

    def finish(self) -> str:
        """The rest of the text; invalid UTF-8 becomes U+FFFD."""
        if self._table is not None:
            return self._strip(self._bytes.decode(b"", final=True))
        return self._give(self._tokenizer.decode(self._ids))

    def _give(self, text: str) -> str:
        new = text[_common(self._given, text) :]
        self._given = text
        return new

    def _strip(self, text: str) -> str:
        if self._strips and text:
            self._strips = False
            return text.removeprefix(" ")
        return text


def _common(first: str, second: str) -> int:
    """The length of the common prefix."""
    different = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(different, min(len(first), len(second)))
