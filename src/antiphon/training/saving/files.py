"""The files of a snapshot, synced to disk, and their sizes and digests in its manifest."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.training.saving.tensor_file import Buffers

MANIFEST = "manifest.json"
MOST_MANIFEST_BYTES = 2**24  # of 100,000 files and more
_PIECE = 2**23  # bytes that are hashed and written at once

FileRow = dict[str, Any]  # the size and the SHA-256 of a file, as in the manifest


def write_file(file: Path, content: bytes | Buffers) -> FileRow:
    """Write a file and sync it to disk. The digest is that of the content in memory. OSError names the file."""
    digest, size = hashlib.sha256(), 0
    try:
        with file.open("wb", buffering=0) as stream:
            for buffer in [content] if isinstance(content, bytes) else content:
                whole = memoryview(buffer).cast("B")
                for first in range(0, len(whole), _PIECE):
                    piece = whole[first : first + _PIECE]
                    digest.update(piece)
                    size += len(piece)
                    while piece:  # a write may take less than it is given
                        piece = piece[stream.write(piece) :]
            os.fsync(stream.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error
    return {"size": size, "sha256": digest.hexdigest()}


def read_row(file: Path, *, size: int | None = None) -> FileRow:
    """The size and SHA-256 of a file on disk. With `size`, a file of another size is not read: its SHA-256 is empty."""
    with _opened(file) as stream:
        found = os.fstat(stream.fileno()).st_size
        if size not in (None, found):
            return {"size": found, "sha256": ""}
        return {"size": found, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _opened(file: Path) -> io.FileIO:
    """A regular file, opened to be read. OSError for a link, a pipe, a device and a folder: a snapshot has none, and
    reading one may lead out of its folder or not end."""
    handle = os.open(file, os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")))
    stream = io.FileIO(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "is no regular file", str(file))
    return stream


def manifest_file(rows: Mapping[str, FileRow]) -> bytes:
    """The content of a manifest."""
    return json.dumps({"files": rows, "sha256": _seal(rows)}, indent=1).encode()


def read_manifest(folder: Path) -> dict[str, FileRow] | str:
    """The rows of the manifest of a snapshot folder; a text if it is damaged: its fault."""
    try:
        with _opened(folder / MANIFEST) as stream:
            content = stream.read(MOST_MANIFEST_BYTES + 1)
        if len(content) > MOST_MANIFEST_BYTES:
            return f"{MANIFEST} has more than {MOST_MANIFEST_BYTES} bytes"
        manifest = json.loads(content)
        rows = {
            str(name): {"size": int(row["size"]), "sha256": str(row["sha256"])}
            for name, row in manifest["files"].items()
        }
        if manifest["sha256"] != _seal(manifest["files"]):
            return f"{MANIFEST} is not what was written"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return f"{MANIFEST} cannot be read"
    if not all(0 <= row["size"] < 2**63 for row in rows.values()):
        return f"{MANIFEST} has a size that no file has"
    if odd := next((name for name in rows if not _is_name(name)), None):
        return f"{ascii(odd)[:80]} in {MANIFEST} is no name of a file in its folder"
    return rows


def _is_name(name: str) -> bool:
    """Whether this names a file of a folder itself on any system, and not one elsewhere."""
    return bool(re.fullmatch(r"[\w][\w.-]*", name, re.ASCII)) and len(name) < 256


def damage(folder: Path, *, part: tuple[int, int] = (0, 1)) -> str | None:
    """The fault of a snapshot folder, with the name of the file; None if its files match the manifest.

    `part` (number, count): only every count-th file of the manifest is read, from that number.
    """
    rows = read_manifest(folder)
    if isinstance(rows, str):
        return rows
    if extra := sorted({path.name for path in folder.glob("*.safetensors")} - {*rows}):
        return f"{extra[0]} is not in {MANIFEST}"  # tensors are read from all such files
    for name, row in list(rows.items())[part[0] :: part[1]]:
        try:
            found = read_row(folder / name, size=row["size"])
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError:
            return f"{name} cannot be read"
        if found["size"] != row["size"]:
            return f"{name} has {found['size']} bytes instead of {row['size']}"
        if found["sha256"] != row["sha256"]:
            return f"{name} has another SHA-256 than when it was written"
    return None


def _seal(rows: object) -> str:
    """The digest that protects the manifest itself."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
