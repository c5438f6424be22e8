"""Texts that hold nothing, and texts that are names of files of another kind."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

IMAGES = ("png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp")
SOUNDS = ("wav", "mp3", "flac", "ogg", "m4a", "opus")


def is_blank(text: str) -> bool:
    """Whether there is nothing to read: only white space (U+00A0 and U+3000 too) and invisible characters of Unicode's
    category Cf (U+200B, U+FEFF)."""
    bare = text.strip()
    return not bare or (
        unicodedata.category(bare[0]) == "Cf"
        and all(char.isspace() or unicodedata.category(char) == "Cf" for char in bare)
    )


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
