"""Reading a folder from elsewhere: names that we know, nothing outside the folder, bounded sizes, plain JSON.

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
from antiphon.text.vocabulary import MOST_IDS

MOST_BYTES = 2**26  # of one file; the largest known tokenizer.json has half of it


class TokenizerFolder:
    """A folder of files whose names we choose. A link out of it is refused, but for one into the hub's own store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()

    def read(self, name: str) -> bytes | None:
        """The bytes of the file called `name`; None where there is none."""
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
        if about.st_size > MOST_BYTES:
            raise ModelError(f"`{file}` must have at most {MOST_BYTES} bytes, but has {about.st_size}.")
        try:
            return real.read_bytes()
        except OSError as error:
            raise ModelError(f"`{file}` cannot be read ({error.strerror}).") from error

    def mapping(self, name: str) -> dict[str, Any] | None:
        """The JSON object in the file called `name`; None where there is none."""
        content = self.read(name)
        return None if content is None else json_mapping(content, where=str(self.path / name))

    def _allowed(self) -> list[Path]:
        """The folder itself; for a snapshot in the hub's cache also the store that its files are links into."""
        cached = self._root.parent.name == "snapshots"
        return [self._root, *([self._root.parent.parent / "blobs"] if cached else [])]


def json_mapping(content: bytes, *, where: str) -> dict[str, Any]:
    """The JSON object that `content` holds; ModelError that names `where`."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"`{where}` must be JSON, but cannot be read ({error}). Restore the file.") from error
    if not isinstance(found, dict):
        raise ModelError(f"`{where}` must hold a JSON object, but holds {type(found).__name__}.")
    return found


def vocabulary_of(content: bytes, *, where: str) -> dict[str, int]:
    """A vocab.json: the id of each token."""
    vocab = json_mapping(content, where=where)
    for token, id in vocab.items():
        if type(id) is not int or not 0 <= id < MOST_IDS:
            raise ModelError(f"`{where}` must map tokens to ids below {MOST_IDS}, but `{token:.40}` has {id!r:.40}.")
    if not vocab or len(set(vocab.values())) < len(vocab):
        raise ModelError(f"`{where}` must map each of its tokens to an id of its own, but has {len(vocab)} tokens.")
    return vocab


def token_text(value: object) -> str | None:
    """The text of a token as the files write it: a string, or a mapping with `content`."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) and value else None
