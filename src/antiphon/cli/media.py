"""Files of images and sound as inputs of `antiphon generate`: `antiphon generate runs/ocr page*.png`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.errors import DataError, UsageError

if TYPE_CHECKING:
    from antiphon.generation.translator import Translator

MOST_FILES = 64  # read together: their pixels or samples are in memory


def are_media(names: Sequence[str]) -> bool:
    """Whether arguments are files of images or sound, by their names."""
    from antiphon.text.kinds import is_media_name  # its package imports tokenizers

    return bool(names) and all(is_media_name(name.replace(" ", "_")) for name in names)


def chunks(names: Sequence[str]) -> Iterator[list[str]]:
    """The files that arguments name, also by quoted patterns, in lists that are answered together."""
    from antiphon.data.shards import expand

    files = [file for name in names for file in expand(name)]
    for first in range(0, len(files), MOST_FILES):
        yield files[first : first + MOST_FILES]


def check_model(model: Translator, name: str) -> None:
    """UsageError for a model that reads text."""
    if not (_reads_files(model) or _joins_text(model)):
        raise UsageError(f"`{name}` needs a model of images or sound, but this one reads text. Give text as --input.")


def check_input(model: Translator, name: str) -> None:
    """UsageError for a file of an image or of sound that is given as --input, to a model that reads such files."""
    if (_reads_files(model) or _joins_text(model)) and are_media([name]):
        problem = f"`--input` must be a table, or a text file that names a file a line, but is `{name}`"
        raise UsageError(f"{problem}. Give it after MODEL, without --input.")


def check_names(model: Translator, lines: Sequence[str], file: str, *, first: int) -> None:
    """DataError for a line of `file` that names no file, to a model of images or sound; `first` lines stand before."""
    if not _reads_files(model):
        return
    from antiphon.data.media.references import is_part
    from antiphon.settings import show
    from antiphon.urls import is_url

    for number, line in enumerate(lines, first + 1):
        if not line.strip() or not (is_part(line) or is_url(line) or _exists(line)):
            problem = f"must name a file of an image or of sound, but is {show(line)} ({file}:{number})"
            raise DataError(f"a line {problem}, and there is no such file. Check the path.")


def _reads_files(model: Translator) -> bool:
    kind = getattr(model, "input_kind", None)
    return kind is not None and not kind.has_tokens


def _joins_text(model: Translator) -> bool:
    """Whether a model reads texts, each of which may have an image."""
    kind = getattr(model, "input_kind", None)
    return kind is not None and kind.joins_text


def inputs_of(model: Translator, files: Sequence[str]) -> Sequence[str]:
    """Files as inputs of the model; a name is a text to one that reads texts with images."""
    if not _joins_text(model):
        return files
    from antiphon.data.media.references import located

    return [located(file) for file in files]


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return False
