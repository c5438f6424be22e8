"""Keys of what is in files of images and sound: equal for one content under two names.

    content_key(reference)              # 16 bytes, of the content and the text beside it

Of a content of more than 1 MiB, its size and its first and last 512 KiB are compared: two recordings that have these in
common are taken as one.
"""

from __future__ import annotations

import hashlib
import os

from antiphon.data.media.references import Reference, open_media
from antiphon.errors import DataError

_ENDS = 512 << 10


def content_key(reference: Reference) -> bytes:
    """A BLAKE2 digest of the content of a file and of the text beside it. DataError if it cannot be read."""
    digest = hashlib.blake2b(f"{len(reference.prompt)} {reference.prompt}".encode("utf-8", "surrogatepass"))
    with open_media(reference) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= 2 * _ENDS:
            digest.update(file.read())
        else:
            digest.update(f"{size} ".encode() + file.read(_ENDS))
            file.seek(size - _ENDS)
            digest.update(file.read())
    return digest.digest()[:16]


def key_or_name(reference: Reference) -> bytes:
    """`content_key`, or a key of the name of a file that cannot be read: what reads the file says what is wrong."""
    try:
        return content_key(reference)
    except DataError:
        return hashlib.blake2b(
            f"{reference.file}\0{reference}".encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()
