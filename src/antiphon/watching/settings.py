"""The resolved recipe of a run as flat settings, to show in what several runs differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import UsageError
from antiphon.recipe import read_yaml
from antiphon.watching.discovery import CONFIG

MAX_CHARACTERS = 200  # of a value


class RunSettings:
    """The settings of a run folder by dotted name, read again when the file changes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / CONFIG
        self._read_at: tuple[int, int] | None = None
        self._found: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """The settings as JSON texts; empty where there is no file that can be read."""
        try:
            state = self._file.stat()
            if self._read_at != (state.st_mtime_ns, state.st_size):
                self._read_at = (state.st_mtime_ns, state.st_size)
                config, _ = read_yaml(self._file.read_text(encoding="utf-8"), self._file.name)
                self._found = dict(_flat(config))
        except (OSError, UsageError, ValueError):
            pass  # a copied run may have its log alone
        return self._found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = json.dumps(value, ensure_ascii=False, default=str)
            yield f"{prefix}{name}", text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
