"""The bytes of each token id, for exact decoding, also one id at a time.

Byte-level tokenizers write a byte as one printable character (Radford et al. 2019); tokenizers with byte fallback write
it as "<0xC3>". Either way a token is a fixed string of bytes, and the bytes of a text are their concatenation.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from typing import Any

import tokenizers

_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]
# The table of GPT-2: printable bytes map to themselves, the others to U+0100 and following.
LETTER_OF_BYTE = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_HIDDEN)}
BYTE_OF_LETTER = {letter: byte for byte, letter in LETTER_OF_BYTE.items()}

_LEVEL = ["ByteLevel"]
_LEVEL_STRIP = ["ByteLevel", "Strip"]
_FALLBACK_FUSE = ["ByteFallback", "Fuse"]
_FALLBACK_STRIP = ["ByteFallback", "Fuse", "Strip"]


def _show_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("antiphon-show", _show_bytes)


class ByteTable:
    """The bytes of each id. strips: the first space of a text was added by the tokenizer and is removed."""

    def __init__(self, table: dict[int, bytes], *, strips: bool) -> None:
        self._table = table
        self.strips = strips

    def bytes(self, ids: Sequence[int]) -> bytes:
        """The concatenated bytes of `ids`; ids without bytes are skipped."""
        return b"".join(self._table.get(id, b"") for id in ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; invalid UTF-8 becomes U+FFFD."""
        text = self.bytes(ids).decode("utf-8", errors="replace")
        return text[1:] if self.strips and text.startswith(" ") else text

    def show(self, id: int) -> str:
        """A token for display: "▁" for a space, "<0xC3>" for a byte that is not a character by itself."""
        return self._table.get(id, b"").decode("utf-8", errors="antiphon-show").replace(" ", "▁")


def byte_table(rust: tokenizers.Tokenizer) -> ByteTable | None:
    """The table of a tokenizer whose decoder only concatenates bytes; None for other tokenizers."""
    decoder: dict[str, Any] = json.loads(rust.to_str())["decoder"] or {"type": "none"}
    parts: list[dict[str, Any]] = decoder.get("decoders", [decoder])
    kinds = [part["type"] for part in parts]
    strips = kinds in (_LEVEL_STRIP, _FALLBACK_STRIP)
    if strips and [parts[-1][key] for key in ("content", "start", "stop")] != [" ", 1, 0]:
        return None
    if kinds in (_LEVEL, _LEVEL_STRIP):
        read = _level_bytes
    elif kinds in (_FALLBACK_FUSE, _FALLBACK_STRIP):
        read = _fallback_bytes
    else:
        return None
    # Added tokens are plain text, even if their letters are in the byte table.
    added = {id: token.content.encode() for id, token in rust.get_added_tokens_decoder().items()}
    return ByteTable({id: read(word) for word, id in rust.get_vocab().items()} | added, strips=strips)


def _level_bytes(word: str) -> bytes:
    # A token with any other character is an added one, in plain text.
    whole = all(letter in BYTE_OF_LETTER for letter in word)
    return bytes(BYTE_OF_LETTER[letter] for letter in word) if whole else word.encode()


def _fallback_bytes(word: str) -> bytes:
    match = _FALLBACK.fullmatch(word)
    return bytes([int(match[1], 16)]) if match else word.encode()
