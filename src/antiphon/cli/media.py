"""Files of images and sound as inputs of `antiphon generate`: `antiphon generate runs/ocr page*.png`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from antiphon.errors import UsageError

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
    kind = getattr(model, "input_kind", None)
    if kind is None or kind.has_tokens:
        raise UsageError(f"`{name}` needs a model of images or sound, but this one reads text. Give text as --input.")
