"""Rows that cannot be read: an error that names up to ten of them at once, or left out and counted (`data.bad_rows`).

A reader gives such a row with its `fault`, so that reading can go on behind it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, TypeVar

from antiphon.data.lines import Cursor, DataPlace, DataRow
from antiphon.errors import DataError

How = Literal["error", "skip"]
T = TypeVar("T")


class ReadRow(Protocol):
    """What a reader gives: where it stands, and why it cannot be read (None: it can)."""

    @property
    def place(self) -> DataPlace: ...
    @property
    def fault(self) -> DataError | None: ...


R = TypeVar("R", bound=ReadRow)

MOST_SHOWN = 10
_LOOKED_AT = 100_000  # rows behind the first bad one in which others are looked for, so that an error comes soon


class BadRows:
    """The bad rows of one reading: their number, and the messages of the first ten. `found` is told of each.

    `setting`: what the error names as the way to leave them out.
    """

    def __init__(
        self,
        how: How = "error",
        found: Callable[[str], None] | None = None,
        *,
        setting: str = "data.bad_rows: skip",
    ) -> None:
        self.how, self.count, self.setting, self._found = how, 0, setting, found

    def skip(self, error: DataError) -> None:
        """Count a bad row; the first ten are warned of."""
        self.count += 1
        if self._found is not None:
            self._found(str(error))
        if self.count <= MOST_SHOWN:
            warnings.warn(f"a bad row is left out: {error}", stacklevel=2)


def sound(rows: Iterable[R], make: Callable[[R], T], bad: BadRows) -> Iterator[tuple[R, T]]:
    """Each row that can be read, with what `make` makes of it; the others as `bad` says."""
    rows = iter(rows)
    for row in rows:
        try:
            made = _make(row, make)
        except DataError as error:
            if bad.how == "error":
                raise _together(error, row, rows, make, bad.setting) from error
            bad.skip(error)
            continue
        yield row, made


def row_of(make: Callable[[], DataRow], place: DataPlace, cursor: Cursor) -> DataRow:
    """What `make` gives, or a row with its fault where that raises DataError."""
    try:
        return make()
    except DataError as error:
        return DataRow({}, place, cursor, fault=error)


def _make(row: R, make: Callable[[R], T]) -> T:
    if row.fault is not None:
        raise row.fault
    return make(row)


def _together(first: DataError, row: R, rest: Iterator[R], make: Callable[[R], object], setting: str) -> DataError:
    """The error about a bad row and those behind it, in one line; rows with the same problem by their places alone."""
    places: list[str] = []
    others: list[str] = []
    least = ""
    try:
        for number, other in enumerate(rest, 1):
            try:
                _make(other, make)
            except DataError as error:
                same = str(error).replace(str(other.place), str(row.place)) == str(first)
                (places if same else others).append(str(other.place) if same else str(error))
            if len(places) + len(others) == MOST_SHOWN - 1 or number == _LOOKED_AT:
                least = "at least "
                break
    except DataError:  # of the file as a whole, which the message about a row comes before
        pass
    count = len(places) + len(others)
    if not count:
        return first
    kind = f"{least}{count} other {'row is' if count == 1 else 'rows are'} bad too"
    listed = f"{kind}: {', '.join(places)}." if places else f"{kind}."
    return DataError(" ".join([str(first), listed, *others, f"`{setting}` leaves such rows out."]))
