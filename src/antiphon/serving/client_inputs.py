"""What a user gives to `antiphon.Client`, as what is sent: texts, or files for a model of speech or of images."""

from __future__ import annotations

import base64
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from antiphon.errors import ConfigError, DataError
from antiphon.settings import show
from antiphon.utf8 import clean_text

SUFFIXES = {
    "speech": (".wav", ".flac", ".ogg", ".opus", ".mp3"),
    "image": (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".bmp"),
}  # of the files that a model takes, by the `input` of its description
IMAGES_IN_TEXTS = "texts with images"  # what a model takes that reads both
_TYPES = {"speech": "audio", "image": "image"}
_MIME = {"jpg": "jpeg", "tif": "tiff"}


def inputs_of(inputs: object, what: str, kind: Callable[[], str]) -> list[str]:
    """The inputs as they are sent: one or several, each a text or the path of a file of sound or of an image.

    `kind`, what the model takes, "" if that is not known yet, is called only where an input may be a path. Of a model
    that takes texts with images (IMAGES_IN_TEXTS), or is not known, a `Path` is a file and a str a text. DataError,
    which names `what`, for anything else.
    """
    rows = _listed(inputs, what)
    if any(isinstance(row, Path) for row in rows) and (takes := kind()) in (IMAGES_IN_TEXTS, ""):
        return [
            _data_url(row, "image" if takes else _type_of(row)) if isinstance(row, Path) else texts_of([row], what)[0]
            for row in rows
        ]
    all_suffixes = tuple(suffix for each in SUFFIXES.values() for suffix in each)
    maybe_paths = all(
        isinstance(row, Path) or (isinstance(row, str) and row.lower().endswith(all_suffixes)) for row in rows
    )
    if rows and maybe_paths and (takes := kind()) in _TYPES:
        return [_data_url(Path(str(row)), _TYPES[takes]) for row in rows]
    return texts_of(rows, what)


def with_prompts(inputs: object, prompt: object, what: str) -> tuple[object, object]:
    """The inputs and their prompts, where some inputs are {"image": path, "text": text}: an image is the path alone,
    its text the prompt. DataError, which names `what`, for several images, ConfigError if there is a prompt too."""
    if isinstance(inputs, str | Path | bytes) or not isinstance(inputs, Iterable):
        return inputs, prompt
    rows: list[object] = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    if not any(isinstance(row, Mapping) for row in rows):
        return rows, prompt
    has_text = any(isinstance(row, Mapping) and "text" in row for row in rows)
    if prompt is not None and has_text:
        raise ConfigError('`prompt` must be left out beside {"image": path, "text": text}, which has the text.')
    found: list[object] = []
    texts: list[str] = []
    for row in rows:
        image, text = (row.get("image"), row.get("text", "")) if isinstance(row, Mapping) else (row, "")
        if isinstance(row, Mapping) and not (isinstance(image, str | Path) and isinstance(text, str)):
            wanted = 'texts, paths or {"image": path, "text": text} with the path of one image'
            raise DataError(f"`{what}` must be {wanted}, but is {reprlib.repr(row)}.")
        found.append(Path(image) if isinstance(row, Mapping) and isinstance(image, str) else image)
        texts.append(text)
    return found, prompt if prompt is not None else texts


def texts_of(texts: object, what: str) -> list[str]:
    """The texts as a list, each with a UTF-8 form; DataError, which names `what`, for anything else."""
    found: list[str] = []
    for row, text in enumerate(_listed(texts, what)):
        if not isinstance(text, str):
            wanted = "texts, or paths of files for a model of speech or of images"
            raise DataError(f"`{what}` must be {wanted}, but number {row + 1} is {show(text)}.")
        found.append(clean_text(text))
    return found


def _listed(inputs: object, what: str) -> list[object]:
    if isinstance(inputs, str | Path):
        return [inputs]
    if not isinstance(inputs, Iterable) or isinstance(inputs, Mapping | bytes):
        raise DataError(f"`{what}` must be a text or several, but is {show(inputs)}.")
    return list(inputs)


def _type_of(path: Path) -> str:
    """The type of a file by its name."""
    return _TYPES["speech" if path.suffix.lower() in SUFFIXES["speech"] else "image"]


def _data_url(path: Path, type: str) -> str:
    """A file of sound or of an image as a data URL (RFC 2397)."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no file `{path}`. Check the path.") from error
    except OSError as error:
        raise DataError(f"`{path}` cannot be read ({error.strerror}).") from error
    kind = path.suffix.lower().removeprefix(".")
    # The server reads the format from the content.
    kind = _MIME.get(kind, kind) if kind.isascii() and kind.isalnum() else "unknown"
    return f"data:{type}/{kind};base64,{base64.b64encode(content).decode('ascii')}"
