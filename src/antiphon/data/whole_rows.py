"""Tables as input of `generate`: rows of CSV, TSV and JSONL files with all their columns and the text to answer.

    table = InputTable("rows.csv", "text")
    for row, whole in readable_rows(table.rows(), lambda row: row.whole, BadRows()):
        print(whole.text, dict(zip(whole.names, whole.values)))

Columns are found as in tables.py, nested.py and templates.py. Unlike training records, rows keep nested values and the
line ends inside quotes, and a row of empty cells counts. A blank line is skipped, unless it is the empty cell of a TSV
file with one column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from antiphon.config import SourceConfig
from antiphon.data.lines import Cursor, DataPlace, DataRow, LineReader, opened, unpacked_name
from antiphon.data.nested import plain_values, texts_of
from antiphon.data.tables import Columns, columns_of, comma_cells, json_object, tab_cells
from antiphon.data.templates import fill, places
from antiphon.errors import DataError

_CELLS = {".csv": comma_cells, ".tsv": tab_cells}


class TableRow(NamedTuple):
    """A row: the text to answer, and its columns. `line` is the original line of a JSON object."""

    text: str
    names: Sequence[str]
    values: Sequence[Any]
    line: str = ""


class CheckedTableRow(NamedTuple):
    """A row and its location; `fault` is the error if it cannot be read."""

    whole: TableRow
    place: DataPlace
    fault: DataError | None = None


_NONE = TableRow("", (), ())


@dataclass(frozen=True)
class InputTable:
    """The rows of the file `path` (.csv, .tsv or .jsonl, each also .gz or .zst), with the texts of `field`.

    `field`: the name of a column or key, `a.b` for a key inside a key, the number from 0 of a column in a table without
    a header, or a template of several, `"{title}: {body}"`.
    """

    path: str
    field: str | int

    @property
    def kind(self) -> str:
        """`.csv`, `.tsv` or `.jsonl`."""
        return kind_of(self.path)

    def names(self) -> list[str] | None:
        """The column names: those of the header, or the keys of the first readable JSON object; empty if there are no
        rows, None for a table without a header. DataError if `field` is not in the header."""
        if self.kind == ".jsonl":
            whole = (list(row.whole.names) for row in self.rows() if row.fault is None)
            return next(whole, [])
        columns = self._columns()
        return [] if columns is None else list(columns.names) if columns.header else None

    def rows(self) -> Iterator[CheckedTableRow]:
        """Each row. A row that cannot be read has its `fault` set, and reading continues after it."""
        return self._objects() if self.kind == ".jsonl" else self._records()

    def _objects(self) -> Iterator[CheckedTableRow]:
        lines = LineReader(self.path, go_on=True)
        for line in lines:
            if line.strip():
                place = DataPlace(self.path, lines.number)
                try:
                    lines.check()
                    found = json_object(line, place)
                    text = self._template(plain_values(found), place)
                    if text is None:
                        text = " ".join(texts_of(found, str(self.field), "source_field", place))
                except DataError as error:
                    yield CheckedTableRow(_NONE, place, error)
                    continue
                yield CheckedTableRow(TableRow(text, list(found), list(found.values()), line), place)

    def _records(self) -> Iterator[CheckedTableRow]:
        columns = self._columns()
        if columns is None:
            return
        lines = LineReader(self.path, keep_ends=True, exact_ends=self.kind == ".csv", go_on=True)
        rows = iter(_CELLS[self.kind](lines))
        if columns.header:
            next(row for row in rows if isinstance(row, DataError) or any(row))
        for row in rows:
            if row == [] or (row == [""] and self.kind == ".tsv" and len(columns.names) > 1):
                continue
            place = DataPlace(self.path, lines.number)
            try:
                if isinstance(row, DataError):
                    raise row
                lines.check()
                yield CheckedTableRow(self._whole(columns, row, place), place)
            except DataError as error:
                yield CheckedTableRow(_NONE, place, error)

    def _whole(self, columns: Columns, row: list[str], place: DataPlace) -> TableRow:
        columns.check(row, place)
        count = len(columns.names)
        cells = [*row, *[""] * (count - len(row))][:count]  # without a header, empty cells at the end do not count
        text = self._template(dict(zip(columns.names, cells, strict=True)), place)
        if text is None:
            number = columns.source or 0
            if number >= count:
                problem = f"a row must have the column {number} (counted from 0), but has {count} columns"
                raise DataError(f"{problem} ({place}). Set `source_field`.")
            text = cells[number]
        return TableRow(text.replace("\r\n", "\n"), columns.names, cells)

    def _template(self, record: dict[str, str], place: DataPlace) -> str | None:
        """The text of the template `field` for a record; None if `field` is not a template."""
        if not places(self.field):
            return None
        return fill(DataRow(record, place, Cursor()), {"source": str(self.field)}).record["source"]

    def _columns(self) -> Columns | None:
        parts = places(self.field)  # a field given by name implies a header
        named = [part for part in parts if not part.isdecimal()]
        field = named[0] if named else int(parts[0]) if parts else self.field
        source = SourceConfig(path=self.path, source_field=field)
        return columns_of(source, _CELLS[self.kind], needs_header=self.kind == ".csv")


def kind_of(path: str) -> str:
    """The suffix that decides how a file is read, in lower case, without .gz or .zst."""
    return PurePath(unpacked_name(path)).suffix.lower()


SOURCES = ("source", "audio", "image")  # columns that are answered by default


def source_column(path: str) -> str | None:
    """The first of SOURCES that a .csv or .tsv file has as a column, or the first object of a .jsonl file as a key.

    None if the first record cannot be read: the file may be lines of text. DataError if the file does not exist.
    """
    opened(path).close()
    try:
        if kind_of(path) == ".jsonl":
            lines = LineReader(path)
            first = next((line for line in lines if line.strip()), None)
            names: Iterable[str] = () if first is None else json_object(first, DataPlace(path, lines.number))
            return next((name for name in SOURCES if name in names), None)
        lines = LineReader(path, keep_ends=True)
        cells: Iterable[list[str] | DataError] = _CELLS[kind_of(path)](lines)
        row = next((row for row in cells if isinstance(row, DataError) or any(row)), [])
    except DataError:
        return None
    return None if isinstance(row, DataError) else next((name for name in SOURCES if name in row), None)
