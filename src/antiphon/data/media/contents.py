"""Keys of what is in files of images and sound: equal for one content under two names.

content_key(reference)              # 16 bytes, of the content and the text beside it
"""

from __future__ import annotations

import hashlib

from antiphon.data.media.references import Reference, open_media
from antiphon.errors import DataError

_BLOCK = 1 << 20


def content_key(reference: Reference) -> bytes:
    """A BLAKE2 digest of the content of a file and of the text beside it. DataError if it cannot be read."""
    prompt = reference.prompt.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(b"%d " % len(prompt) + prompt, digest_size=16)
    try:
        with open_media(reference) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        problem = f"`{reference}` cannot be read ({error.strerror or error})"
        raise DataError(f"{problem}. Check the file and its permissions.") from error
    return digest.digest()


def key_or_name(reference: Reference) -> bytes:
    """`content_key`, or a key of the name of a file that cannot be read: what reads the file says what is wrong."""
    try:
        return content_key(reference)
    except DataError:
        return hashlib.blake2b(
            f"{reference.file}\0{reference}".encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()
