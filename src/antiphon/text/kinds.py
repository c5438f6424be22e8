"""Texts that hold nothing, and texts that are names of files of another kind."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

IMAGES = ("png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp")
# Of Unicode's Default_Ignorable_Code_Point, those outside of the category Cf; and the empty pattern of Braille.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0\u2800") | {
    chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}
SOUNDS = ("wav", "mp3", "flac", "ogg", "m4a", "opus")


def is_blank(text: str) -> bool:
    """Whether there is nothing to read: only white space (U+00A0 and U+3000 too) and invisible characters (U+200B,
    U+FEFF, control characters, variation selectors, fillers)."""
    bare = text.strip()
    return not bare or (_is_invisible(bare[0]) and all(char.isspace() or _is_invisible(char) for char in bare))


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cf", "Cc") or char in _INVISIBLE


def is_media_name(text: str) -> bool:
    """Whether a text is the name of an image or a sound file: no white space, and one of their endings."""
    name, dot, ending = text.rpartition(".")
    return bool(name and dot) and ending.lower() in IMAGES + SOUNDS and not any(map(str.isspace, text))


def first_media_name(texts: Iterable[str]) -> str | None:
    """The first of `texts` where all of them are names of image or sound files; None where one is not, or there is
    none. A single one among other texts is a text."""
    first = None
    for text in texts:
        if not is_media_name(text):
            return None
        first = first or text
    return first
