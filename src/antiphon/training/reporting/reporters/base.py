"""What a built-in reporter is given and must do."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.models.folders.files import replace_file

IDS = "reporters.json"  # in the run folder: the identifiers of the run in other programs


@dataclass(frozen=True)
class ReportedRun:
    """The run whose rows are reported.

    `recipe` is the whole recipe as plain values. `resumed_at` is the step from which a run is continued; None: it is
    new.
    """

    folder: Path
    recipe: Mapping[str, Any]
    resumed_at: int | None = None

    @property
    def name(self) -> str:
        """The name of the run: that of its folder."""
        return self.folder.resolve().name

    def saved_id(self, reporter: str) -> str | None:
        """The identifier that `reporter` gave to this run before it was resumed; None for a new run."""
        if self.resumed_at is None:
            return None
        found = self._ids().get(reporter)
        return found if isinstance(found, str) else None

    def save_id(self, reporter: str, identifier: str) -> None:
        """Keep the identifier for a resumed run."""
        replace_file(self.folder / IDS, json.dumps({**self._ids(), reporter: identifier}, indent=1).encode())

    def _ids(self) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / IDS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


class BuiltInReporter(ABC):
    """Sends rows to another program. Created before the first step; may raise anything where the program refuses."""

    def __init__(self, run: ReportedRun) -> None:
        self.run = run

    @abstractmethod
    def __call__(self, row: Mapping[str, Any]) -> None:
        """Send a row."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """Send what is left. `failed`: the run did not come to its end."""


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite figures of a row, without its step."""
    return {
        name: float(value)
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A recipe with dotted names and without settings that are null: {"training.lr": 0.001}."""
    found: dict[str, Any] = {}
    for name, value in recipe.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value
    return found
