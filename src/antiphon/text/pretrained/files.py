"""Safe reading of a tokenizer folder: fixed file names, nothing outside the folder, bounded sizes, plain JSON.

    folder = TokenizerFolder(Path("opus-mt-en-de"))
    folder.read("source.spm"), folder.mapping("vocab.json")       # bytes and a dict; None where the file is absent

No path that a file names is ever opened, and nothing in a file is imported.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import ModelError
from antiphon.text.vocabulary import MAX_IDS

MAX_FILE_BYTES = 2**26  # twice the largest known tokenizer.json


class TokenizerFolder:
    """A folder from which files are read by fixed names. Links out of it are refused, except into the hub's cache."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()

    def read(self, name: str) -> bytes | None:
        """The bytes of the file `name`; None if there is none."""
        file = self.path / name
        try:
            real = file.resolve(strict=True)
            about = real.stat()
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError) as error:
            raise ModelError(f"`{file}` must be a file, but cannot be read ({error}).") from error
        if not any(real.is_relative_to(root) for root in self._allowed()):
            raise ModelError(f"`{file}` must lie in its folder, but is a link out of it. Put the file itself there.")
        if not stat.S_ISREG(about.st_mode):
            raise ModelError(f"`{file}` must be a file, but is none.")
        if about.st_size > MAX_FILE_BYTES:
            raise ModelError(f"`{file}` must have at most {MAX_FILE_BYTES} bytes, but has {about.st_size}.")
        try:
            return real.read_bytes()
        except OSError as error:
            raise ModelError(f"`{file}` cannot be read ({error.strerror}).") from error

    def mapping(self, name: str) -> dict[str, Any] | None:
        """The JSON object in the file `name`; None if there is none."""
        content = self.read(name)
        return None if content is None else json_mapping(content, where=str(self.path / name))

    def _allowed(self) -> list[Path]:
        """The folder itself, and for a snapshot in the hub's cache the blob folder that its files link to."""
        cached = self._root.parent.name == "snapshots"
        return [self._root, *([self._root.parent.parent / "blobs"] if cached else [])]


def json_mapping(content: bytes, *, where: str) -> dict[str, Any]:
    """The JSON object in `content`; ModelError, which names `where`, if there is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"`{where}` must be JSON, but cannot be read ({error}). Restore the file.") from error
    if not isinstance(found, dict):
        raise ModelError(f"`{where}` must hold a JSON object, but holds {type(found).__name__}.")
    return found


def vocabulary_of(content: bytes, *, where: str) -> dict[str, int]:
    """The content of a vocab.json: token to id."""
    vocab = json_mapping(content, where=where)
    for token, id in vocab.items():
        if type(id) is not int or not 0 <= id < MAX_IDS:
            raise ModelError(f"`{where}` must map tokens to ids below {MAX_IDS}, but `{token:.40}` has {id!r:.40}.")
    if not vocab or len(set(vocab.values())) < len(vocab):
        raise ModelError(f"`{where}` must map each of its tokens to an id of its own, but has {len(vocab)} tokens.")
    return vocab


def token_text(value: object) -> str | None:
    """The text of a token in a config file: a string, or a mapping with `content`."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) and value else None
