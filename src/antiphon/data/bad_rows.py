"""Handling of rows that cannot be read (`data.bad_rows`): one error that names up to ten of them, or skip and count.

A reader yields a bad row with its `fault` set instead of raising, so that reading can continue with the next row.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, TypeVar

from antiphon.data.lines import Cursor, DataPlace, DataRow
from antiphon.errors import DataError

OnBadRow = Literal["error", "skip"]
T = TypeVar("T")


class ReadRow(Protocol):
    """A row as a reader yields it: its location, and its `fault` if it cannot be read, else None."""

    @property
    def place(self) -> DataPlace: ...
    @property
    def fault(self) -> DataError | None: ...


R = TypeVar("R", bound=ReadRow)

MAX_ERRORS_SHOWN = 10
_MAX_ROWS_SEARCHED = 100_000  # rows searched for further bad ones after the first; bounds the time until the error


class BadRows:
    """Counts the bad rows of one pass over the data and warns about the first ten.

    `on_skip` is called with the message of each skipped row. `setting` is the setting that the error names as remedy.
    """

    def __init__(
        self,
        how: OnBadRow = "error",
        on_skip: Callable[[str], None] | None = None,
        *,
        setting: str = "data.bad_rows: skip",
    ) -> None:
        self.how, self.count, self.setting, self._on_skip = how, 0, setting, on_skip

    def skip(self, error: DataError) -> None:
        """Count a bad row; warn for the first ten."""
        self.count += 1
        if self._on_skip is not None:
            self._on_skip(str(error))
        if self.count <= MAX_ERRORS_SHOWN:
            warnings.warn(f"a bad row is left out: {error}", stacklevel=2)


def readable_rows(rows: Iterable[R], make: Callable[[R], T], bad: BadRows) -> Iterator[tuple[R, T]]:
    """Each readable row with the result of `make(row)`. Bad rows raise DataError or are skipped, as `bad.how` says."""
    rows = iter(rows)
    for row in rows:
        try:
            result = _make(row, make)
        except DataError as error:
            if bad.how == "error":
                raise _together(error, row, rows, make, bad.setting) from error
            bad.skip(error)
            continue
        yield row, result


def row_or_fault(make: Callable[[], DataRow], place: DataPlace, cursor: Cursor) -> DataRow:
    """The row that `make()` returns; an empty row with `fault` set if it raises DataError."""
    try:
        return make()
    except DataError as error:
        return DataRow({}, place, cursor, fault=error)


def _make(row: R, make: Callable[[R], T]) -> T:
    if row.fault is not None:
        raise row.fault
    return make(row)


def _together(first: DataError, row: R, rest: Iterator[R], make: Callable[[R], object], setting: str) -> DataError:
    """One error in one line for a bad row and those after it; rows with the same problem are listed by location."""
    places: list[str] = []
    others: list[str] = []
    bound = ""
    try:
        for number, other in enumerate(rest, 1):
            try:
                _make(other, make)
            except DataError as error:
                same = str(error).replace(str(other.place), str(row.place)) == str(first)
                (places if same else others).append(str(other.place) if same else str(error))
            if len(places) + len(others) == MAX_ERRORS_SHOWN - 1 or number == _MAX_ROWS_SEARCHED:
                bound = "at least "
                break
    except DataError:  # a fault of the whole file: the message about a row takes precedence
        pass
    count = len(places) + len(others)
    if not count:
        return first
    kind = f"{bound}{count} other {'row is' if count == 1 else 'rows are'} bad too"
    listed = f"{kind}: {', '.join(places)}." if places else f"{kind}."
    return DataError(" ".join([str(first), listed, *others, f"`{setting}` leaves such rows out."]))
