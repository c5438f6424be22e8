"""The files of a snapshot, synced to disk, and their sizes and digests in its manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.training.saving.tensor_file import Buffers

MANIFEST = "manifest.json"
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


def read_row(file: Path) -> FileRow:
    """The size and SHA-256 of a file on disk."""
    with file.open("rb", buffering=0) as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return {"size": stream.tell(), "sha256": digest.hexdigest()}


def manifest_file(rows: Mapping[str, FileRow]) -> bytes:
    """The content of a manifest."""
    return json.dumps({"files": rows, "sha256": _seal(rows)}, indent=1).encode()


def read_manifest(folder: Path) -> dict[str, FileRow] | str:
    """The rows of the manifest of a snapshot folder; a text if it is damaged: its fault."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        rows = {
            str(name): {"size": int(row["size"]), "sha256": str(row["sha256"])}
            for name, row in manifest["files"].items()
        }
        if manifest["sha256"] != _seal(manifest["files"]):
            return f"{MANIFEST} is not what was written"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} cannot be read"
    return rows


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
            found = read_row(folder / name)
        except OSError:
            return f"{name} is missing"
        if found["size"] != row["size"]:
            return f"{name} has {found['size']} bytes instead of {row['size']}"
        if found["sha256"] != row["sha256"]:
            return f"{name} has another SHA-256 than when it was written"
    return None


def _seal(rows: object) -> str:
    """The digest that protects the manifest itself."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
