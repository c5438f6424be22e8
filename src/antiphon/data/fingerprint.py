"""Fingerprints of data files (size and digest), by which a resumed run checks that its data is unchanged.

Files up to 64 MiB are read whole; of larger ones the first, the middle and the last 16 MiB. Modification times are
ignored, so that a copy of the data has the same fingerprint. Of a folder the names and sizes of its files count; files
of images or sound that a table names do not. A remote file is not read: its digest is the entity tag or
checksum that the server gives, or else its time.
"""

from __future__ import annotations

import hashlib
import os

from antiphon.config import source_list
from antiphon.data.columns import hub_files
from antiphon.data.lines import unreadable
from antiphon.data.media.archives import is_folder
from antiphon.data.shards import shard_files
from antiphon.errors import DataError
from antiphon.urls import RemoteName

Fingerprints = dict[str, tuple[int, str]]

_WHOLE, _BLOCK = 64 << 20, 16 << 20


def fingerprints(data: object) -> Fingerprints:
    """The size in bytes and the digest of each file of `data`; nothing for pairs from Python."""
    found: Fingerprints = {}
    for source in source_list(data):
        if source.hub is not None:
            files = hub_files(source)[0]  # the name of a file on the hub includes its commit, so the name suffices
            found |= {file: _of_file(file) if os.path.exists(file) else (0, "") for file in files}
        found |= {str.__str__(file): _of_file(file) for file in shard_files(source)}
    return found


def refuse_changes(was: Fingerprints, now: Fingerprints) -> None:
    """Raise DataError for the first file whose fingerprint has changed."""
    for file in {**was, **now}:
        before, after = was.get(file), now.get(file)
        if before is None or after is None:
            problem = f"but `{file}` is {'new' if before is None else 'no longer among it'}"
        elif tuple(before) == tuple(after):
            continue
        elif before[0] != after[0]:
            problem = f"but `{file}` had {before[0]:,} bytes and has {after[0]:,}"
        else:
            problem = f"but `{file}` holds other text of the same length"
        raise DataError(f"a resumed run must find its data as it was, {problem}. Put it back, or start a new run.")


def _of_file(file: str) -> tuple[int, str]:
    if is_folder(file):
        return _of_folder(file)
    if isinstance(file, RemoteName):
        from antiphon.data.remote.filesystem import details

        known = details(file)
        return known.size or 0, known.version
    try:
        with open(file, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            starts = [0] if size <= _WHOLE else [0, (size - _BLOCK) // 2, size - _BLOCK]
            digest = hashlib.blake2b(digest_size=16)
            for start in starts:
                stream.seek(start)
                left = size if size <= _WHOLE else _BLOCK
                while left > 0 and (block := stream.read(min(left, 1 << 20))):
                    digest.update(block)
                    left -= len(block)
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from error
    return size, digest.hexdigest()


def _of_folder(folder: str) -> tuple[int, str]:
    """The bytes of all files of a folder, and a digest of their names and sizes."""
    digest, total = hashlib.blake2b(digest_size=16), 0
    for inside, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(inside, name)
            size = os.path.getsize(file)
            total += size
            digest.update(f"{os.path.relpath(file, folder)}\0{size}\n".encode("utf-8", "surrogateescape"))
    return total, digest.hexdigest()
