"""Counts of the training pairs that were read, kept and dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.errors import DataError

_COUNTS = ("read", "empty", "too_long", "truncated", "bad")  # all but those of filters


@dataclass
class DataReport:
    """Counts of the pairs that were read, kept and dropped. For a streamed corpus: in the current epoch so far."""

    read: int = 0
    empty: int = 0  # skipped: a side was empty or only white space
    dropped: dict[str, int] = field(default_factory=dict)  # name of a filter -> pairs that it dropped
    too_long: int = 0  # skipped by `overflow: skip`
    truncated: int = 0  # kept, truncated by `overflow: truncate`
    bad: int = 0  # unreadable rows skipped by `bad_rows: skip`
    so_far: bool = False  # whether more pairs will be read

    def begin_epoch(self, *, counted: bool) -> None:
        """Reset the counts for an epoch. If all pairs are `counted` already, only those that depend on tokens."""
        self.too_long = self.truncated = 0
        if not counted:
            self.read = self.empty = self.bad = 0
            self.dropped = {}

    @property
    def kept(self) -> int:
        """The number of pairs used for training."""
        return self.read - self.bad - self.empty - sum(self.dropped.values()) - self.too_long

    def nothing_left(self) -> DataError:
        """The error for data without a single usable pair."""
        remedy = "Give it pairs with two sides."
        if self.dropped:
            remedy = "Loosen `data.filters`."
        elif self.too_long:
            remedy = "Raise `data.max_length` (and `model.max_length`), or set `data.overflow` to truncate."
        return DataError(f"the data must hold at least one pair to learn from, but {self}. {remedy}")

    def __str__(self) -> str:
        parts = [f"{self.read:,} pairs read{' so far' if self.so_far else ''}", f"{self.kept:,} kept"]
        parts += [f"{self.bad:,} bad rows left out"] * (self.bad > 0)
        parts += [f"{self.empty:,} skipped with an empty side"] * (self.empty > 0)
        parts += [f"{count:,} dropped by {name}" for name, count in self.dropped.items()]
        parts += [f"{self.too_long:,} skipped as too long"] * (self.too_long > 0)
        parts += [f"{self.truncated:,} truncated"] * (self.truncated > 0)
        return ", ".join(parts)

    def add(self, counts: Mapping[str, Any]) -> None:
        """Add the counts that another process made."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + counts[name])
        for name, count in counts["dropped"].items():
            self.dropped[name] = self.dropped.get(name, 0) + count

    def take(self) -> dict[str, Any]:
        """The counts since the last call, as JSON values; they begin at 0 again."""
        taken: dict[str, Any] = {name: getattr(self, name) for name in _COUNTS}
        taken["dropped"] = dict(self.dropped)
        for name in _COUNTS:
            setattr(self, name, 0)
        self.dropped = dict.fromkeys(self.dropped, 0)
        return taken
