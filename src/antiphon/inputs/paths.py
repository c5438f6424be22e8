"""Paths of files of images or sound that a user gives as inputs.

path = file_of("line.png", "an image", what="`texts` must be images, but number 1", remedy=REMEDY, example="a.png")
"""

from __future__ import annotations

from pathlib import Path

from antiphon.errors import DataError
from antiphon.settings import show
from antiphon.text.kinds import is_media_name


def file_of(value: str | Path, kind: str, *, what: str, remedy: str, example: str) -> Path:
    """The path of a file. DataError if `value` is a folder or a text, or there is no such file.

    `kind` is what the file must be, such as "an image"; `what` begins the error of a text, `remedy` ends it; `example`
    is the name of a file in a folder.
    """
    path = Path(value)
    try:
        if path.is_file():
            return path
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError):  # a text that is too long for a name, or has a NUL
        is_folder = exists = False
    if is_folder and str(value) not in ("", "."):
        raise DataError(f"`{value}` must be {kind}, but is a folder. Give the files in it, such as {path / example}.")
    if exists and not is_folder:  # a pipe or a device cannot be read twice: first its head
        raise DataError(f"`{value}` must be {kind}, but is no regular file. Copy it into one.")
    if isinstance(value, Path) or is_media_name(value):
        raise DataError(f"`{value}` must be {kind}, but there is no such file. Check the path.")
    raise DataError(f"{what} is {show(value)}, which names no file: the model does not read text. {remedy}")
