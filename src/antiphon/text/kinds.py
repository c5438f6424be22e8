"""Checks of texts: blank ones, and names of image or sound files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

IMAGES = ("png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp")
SOUNDS = ("wav", "mp3", "flac", "ogg", "m4a", "opus")


def is_blank(text: str) -> bool:
    """Whether a text has only white space (including U+00A0 and U+3000) and invisible characters (Unicode category Cf,
    such as U+200B and U+FEFF)."""
    bare = text.strip()
    return not bare or (
        unicodedata.category(bare[0]) == "Cf"
        and all(char.isspace() or unicodedata.category(char) == "Cf" for char in bare)
    )


def is_media_name(text: str) -> bool:
    """Whether a text is the name of an image or sound file: no white space, and a known suffix."""
    name, dot, ending = text.rpartition(".")
    return bool(name and dot) and ending.lower() in IMAGES + SOUNDS and not any(map(str.isspace, text))


def first_media_name(texts: Iterable[str]) -> str | None:
    """The first of `texts` if all of them are names of image or sound files; else None. A single such name among other
    texts is valid text."""
    first = None
    for text in texts:
        if not is_media_name(text):
            return None
        first = first or text
    return first
