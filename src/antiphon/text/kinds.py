"""Checks of texts: blank ones, and names of image or sound files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

IMAGES = ("png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp")
_OTHER_IMAGES = ("svg", "heic", "heif", "avif", "jxl", "jp2")  # which no model reads
# Of Unicode's Default_Ignorable_Code_Point, those outside of the category Cf; and the empty pattern of Braille.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0\u2800") | {
    chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}
SOUNDS = ("wav", "mp3", "flac", "ogg", "m4a", "opus")


def is_blank(text: str) -> bool:
    """Whether a text has only white space (including U+00A0 and U+3000) and invisible characters (such as U+200B and
    U+FEFF, control characters, variation selectors, fillers)."""
    bare = text.strip()
    return not bare or (_is_invisible(bare[0]) and all(char.isspace() or _is_invisible(char) for char in bare))


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cf", "Cc") or char in _INVISIBLE


def is_media_name(text: str) -> bool:
    """Whether a text is the name of an image or sound file: no white space, and a known suffix."""
    name, dot, ending = text.rpartition(".")
    return bool(name and dot) and ending.lower() in IMAGES + _OTHER_IMAGES + SOUNDS and not any(map(str.isspace, text))


def first_media_name(texts: Iterable[str]) -> str | None:
    """The first of `texts` if all of them are names of image or sound files; else None. A single such name among other
    texts is valid text."""
    first = None
    for text in texts:
        if not is_media_name(text):
            return None
        first = first or text
    return first
