"""What a user gives to `antiphon.Client`, as what is sent: texts, or sound files for a model of speech."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from antiphon.errors import DataError
from antiphon.settings import show
from antiphon.utf8 import clean_text

SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3")


def inputs_of(inputs: object, what: str, is_speech: Callable[[], bool]) -> list[str]:
    """The inputs as they are sent: one or several, each a text or the path of a sound file.

    `is_speech` is called only where an input may be a path. DataError, which names `what`, for anything else.
    """
    rows = _listed(inputs, what)
    maybe_paths = all(isinstance(row, Path) or (isinstance(row, str) and row.lower().endswith(SOUNDS)) for row in rows)
    if rows and maybe_paths and is_speech():
        return [_recording(Path(str(row))) for row in rows]
    return texts_of(rows, what)


def texts_of(texts: object, what: str) -> list[str]:
    """The texts as a list, each with a UTF-8 form; DataError, which names `what`, for anything else."""
    found: list[str] = []
    for row, text in enumerate(_listed(texts, what)):
        if not isinstance(text, str):
            wanted = "texts, or paths of sound files for a model of speech"
            raise DataError(f"`{what}` must be {wanted}, but number {row + 1} is {show(text)}.")
        found.append(clean_text(text))
    return found


def _listed(inputs: object, what: str) -> list[object]:
    if isinstance(inputs, str | Path):
        return [inputs]
    if not isinstance(inputs, Iterable) or isinstance(inputs, Mapping | bytes):
        raise DataError(f"`{what}` must be a text or several, but is {show(inputs)}.")
    return list(inputs)


def _recording(path: Path) -> str:
    """A sound file as a data URL (RFC 2397)."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no file `{path}`. Check the path.") from error
    except OSError as error:
        raise DataError(f"`{path}` cannot be read ({error.strerror}).") from error
    kind = path.suffix.lower().removeprefix(".")
    kind = kind if kind.isascii() and kind.isalnum() else "wav"  # the server reads the format from the content
    return f"data:audio/{kind};base64,{base64.b64encode(content).decode('ascii')}"
