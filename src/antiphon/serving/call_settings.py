"""Search settings as they are sent: checked names, plain JSON values, and those that are one for each row.

>>> settings_of_rows({"beam_size": 4, "prefix": ["in", None]}, 2)
({'beam_size': 4}, {'prefix': ['in', None]})
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from antiphon.config import GenerationConfig
from antiphon.config.generation import TEXT_OF_ROWS
from antiphon.errors import ConfigError
from antiphon.settings import hints, override, show
from antiphon.utf8 import clean_text

LISTS_OF_ROWS = ("allowed", "required", "forbidden")  # a list of texts for all rows, or such a list for each row


def checked_settings(settings: Mapping[str, object]) -> dict[str, Any]:
    """Settings with plain values; ConfigError for an unknown name, or a value that JSON does not have.

    The server checks the values, with the same messages as a local model.
    """
    for name, value in settings.items():
        if name not in hints(GenerationConfig) or name == "batch_size":  # which is not sent
            override(GenerationConfig(), {name: value})  # raises the error, which names the nearest setting
    return {name: _plain(name, value) for name, value in settings.items()}


def settings_of_rows(settings: Mapping[str, Any], count: int) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The settings for all rows, and those with one entry for each of `count` rows.

    ConfigError for another number of entries, with the message of a local model.
    """
    common: dict[str, Any] = {}
    of_rows: dict[str, list[Any]] = {}
    for name, value in settings.items():
        if not isinstance(value, list) or not _is_of_rows(name, value):
            common[name] = value
            continue
        override(GenerationConfig(), {name: value})  # a mixture of texts and lists must not be cut into parts
        _check_count(name, len(value), count)
        of_rows[name] = value
    return common, of_rows


def _is_of_rows(name: str, entries: list[Any]) -> bool:
    """Whether a list has one entry for each row."""
    return name in TEXT_OF_ROWS or (name in LISTS_OF_ROWS and not all(isinstance(entry, str) for entry in entries))


def _check_count(name: str, entries: int, count: int) -> None:
    if entries == count:
        return
    if name in TEXT_OF_ROWS:
        raise ConfigError(f"`{name}` must be one text, or one for each of the {count} inputs, but has {entries}.")
    raise ConfigError(
        f"`{name}` must be one list of texts, or one for each input (here {count}), but has lists for {entries}."
    )


def _plain(name: str, value: object) -> Any:
    """A value of JSON: paths are texts, tuples are lists."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"`{name}` must be a finite number, but is {value}.")
        return float(value)
    if isinstance(value, str | os.PathLike):
        return clean_text(str(value))
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    raise ConfigError(f"`{name}` must be a number, a text or a list, but is {show(value)}.")
