"""What a model is given: texts, and pairs of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized

from antiphon.errors import DataError
from antiphon.settings import show
from antiphon.text import clean_text
from antiphon.text.kinds import first_media_name


def texts_of(texts: object, what: str, *, names: bool = True) -> list[str]:
    """The texts as a list, each with a UTF-8 form; DataError, which names `what`, for anything else.

    Without `names`, texts that are all names of image or sound files are refused too, since only a file's name would be
    read.
    """
    deaf = "This model reads text, and does not hear."
    if not isinstance(texts, Iterable) or isinstance(texts, Mapping):  # of a mapping only the keys would be read
        raise DataError(f"`{what}` must be a text or several, but is {show(texts)}. {deaf}")
    rows = [texts] if isinstance(texts, str) else list(texts)
    for row, text in enumerate(rows):
        if not isinstance(text, str):
            raise DataError(f"`{what}` must be texts, but number {row + 1} is {show(text)}. {deaf}")
    if not names and (name := first_media_name(rows)) is not None:
        kind = f"is {show(name)}" if len(rows) == 1 else f"are names of files such as {show(name)}"
        raise DataError(f"`{what}` must be text, which this model reads, but {kind}. It reads no images or sounds.")
    return [clean_text(text) for text in rows]


def check_pairs(sources: Sized, targets: Sized) -> None:
    """DataError where there are more of one than of the other."""
    if len(sources) != len(targets):
        counts = f"{len(sources)} sources and {len(targets)} targets"
        raise DataError(f"there must be one target for each source, but there are {counts}.")
