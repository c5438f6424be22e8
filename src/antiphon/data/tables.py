"""Readers for TSV, CSV and JSONL files. A record maps columns to texts; the chosen columns are `source` and `target`.

* TSV is split at tabs, without quoting. The first line is a header if fields are given by name, or if it contains
  `source` and `target`, or `audio` or `image`; else columns 0 and 1 are source and target. If no fields are given, a
  first line made up of common column names (`sentence`, `label`) is an error, since it would be used as a training
  pair.
* CSV is quoted as in RFC 4180 and has a header unless its fields are given by number.
* All rows must have as many columns as the header, or as the first row; without a header, empty cells at the end do not
  count.
* JSONL has one object a line; nested.py turns it into a record.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from antiphon.config import SourceConfig
from antiphon.data.bad_rows import row_or_fault
from antiphon.data.lines import Cursor, DataPlace, DataRow, LineReader
from antiphon.data.nested import nested_row
from antiphon.errors import DataError
from antiphon.registry import nearest

_MAX_FIELD_CHARACTERS = 1 << 24  # an unclosed quote would read the rest of the file into one field
_RETURNS = "but has carriage returns alone"
_CONVERT = "Where they end the lines, convert the file, for example with tr '\\r' '\\n'."
_MEDIA = {"audio", "image"}  # columns with names of files
_SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars", "\t": "tabs"}
_USUAL_NAMES = (
    "answer category class context de dialogue document en features fr gloss grapheme graphemes hypothesis id idx "
    "index inflected inflection input instruction intent label labels lang language lemma morphology no number output "
    "phoneme phonemes phone phones polarity premise prompt pronunciation question rating reference response review "
    "score section sentence sentence1 sentence2 sentiment source source_text src summary tags target target_text text "
    "text1 text2 tgt title topic transcript transcription translation url utterance word"
)

Cells = Callable[[LineReader], Iterator[list[str] | DataError]]  # an error concerns one row; reading continues after it


def tsv(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The rows of a TSV file after `start`."""
    yield from _table(source, start, tab_cells, needs_header=False)


def comma_separated(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The rows of a CSV file after `start`."""
    yield from _table(source, start, comma_cells, needs_header=True)


def json_lines(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The rows of a JSONL file after `start`; blank lines are skipped."""
    assert isinstance(source.path, str)
    lines = LineReader(source.path, offset=sum(start.offsets), number=start.line, go_on=True)
    for line in lines:
        if line.strip():
            place = DataPlace(source.path, lines.number)
            cursor = Cursor(start.source, lines.number, (lines.offset,), 0, start.shard)
            yield row_or_fault(partial(_json_row, lines, line, source, place, cursor), place, cursor)


class Columns(NamedTuple):
    """The columns of a table: whether its first line is a header, and their names.

    `source` and `target` are column numbers (None: the task chooses the field by name). `filled` is the number of
    columns of the first line without empty ones at its end.
    """

    header: bool
    names: list[str]
    source: int | None
    target: int | None
    filled: int

    def fits(self, row: list[str]) -> bool:
        """Whether a row has as many columns as the header or the first row. Without a header, empty cells at the end of
        either do not count."""
        return len(row) == len(self.names) or (
            not self.header and _filled(row) <= len(self.names) and len(row) >= self.filled
        )

    def check(self, row: list[str], place: DataPlace) -> None:
        """Raise DataError if the number of columns of a row differs."""
        if not self.fits(row):
            first = "header" if self.header else "first row"
            raise DataError(
                f"a row must have as many columns as the {first} ({len(self.names)}), but has {len(row)} ({place}). "
                "Look for a missing or a stray separator."
            )


def _table(source: SourceConfig, start: Cursor, cells: Cells, *, needs_header: bool) -> Iterator[DataRow]:
    assert isinstance(source.path, str)
    columns = columns_of(source, cells, needs_header=needs_header)
    if columns is None:
        return
    lines = LineReader(source.path, offset=sum(start.offsets), number=start.line, keep_ends=True, go_on=True)
    rows = (row for row in cells(lines) if isinstance(row, DataError) or any(row))
    if columns.header and start.line == 0:
        next(rows)
    for row in rows:
        place = DataPlace(source.path, lines.number)
        cursor = Cursor(start.source, lines.number, (lines.offset,), 0, start.shard)
        yield row_or_fault(partial(_row, lines, columns, row, place, cursor), place, cursor)


def columns_of(source: SourceConfig, cells: Cells, *, needs_header: bool) -> Columns | None:
    """The columns of a table, from its first record; None if it is empty."""
    assert isinstance(source.path, str)
    lines = LineReader(source.path, keep_ends=True)
    read = cells(lines)
    # Blank lines are skipped.
    first = next((row for row in read if isinstance(row, DataError) or any(row)), None)
    if first is None:
        return None
    if isinstance(first, DataError):  # raised even if bad rows are skipped: the first row defines the columns
        raise first
    where = f"{source.path}:{lines.number}"
    if "\r" in "".join(first) and not needs_header and next(read, None) is None:
        raise DataError(f"a TSV file must have line feeds at the ends of its lines, {_RETURNS} ({where}). {_CONVERT}")
    return _columns(source, first, where, needs_header)


def _row(lines: LineReader, columns: Columns, row: list[str] | DataError, place: DataPlace, cursor: Cursor) -> DataRow:
    """The row of a list of cells; DataError if it cannot be read."""
    if isinstance(row, DataError):
        raise row
    lines.check()
    return DataRow(_record(columns, row, place), place, cursor)


def tab_cells(lines: LineReader) -> Iterator[list[str]]:
    """The cells of each line of a TSV file."""
    return (line.removesuffix("\n").split("\t") for line in lines)


def comma_cells(lines: LineReader) -> Iterator[list[str] | DataError]:
    """The cells of each record of a CSV file, or its error."""
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD_CHARACTERS))  # global to the process, so never lowered
    reader = csv.reader(lines, strict=True)
    while True:
        begin = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where = f"({lines.file}:{begin})"
            if "new-line character" in str(error):
                problem = "a CSV record must have no carriage return outside of quotes, unless a line feed follows it"
                yield DataError(f"{problem}, {_RETURNS} {where}. Put the field in quotes. {_CONVERT}")
                continue
            remedy = 'Close each quote, and write a quote inside a field as "".'
            if "expected after" in str(error):  # for example semicolons between quoted fields
                remedy = 'Separate the columns by commas, and write a quote inside a field as "".'
            fault = DataError(f"a CSV record must be well formed, but has: {error} {where}. {remedy}")
            if "expected after" not in str(error):  # an unclosed quote has consumed the rest of the file
                raise fault from error
            yield fault
            continue
        yield cells


def _columns(source: SourceConfig, first: list[str], where: str, needs_header: bool) -> Columns:
    wanted = {"source": source.source_field, "target": source.target_field}
    numbered = any(isinstance(field, int) for field in wanted.values())
    named = any(isinstance(field, str) for field in wanted.values())
    header = needs_header or {"source", "target"} <= set(first) or bool(_MEDIA & set(first))
    if named or (not numbered and header):
        _refuse_separator(first, wanted, where, "," if needs_header else "\t")
        found = {side: _find(field, side, first, where) for side, field in wanted.items()}
        return Columns(True, first, found["source"], found["target"], len(first))
    if not numbered and len(first) > 1 and {cell.strip().lower() for cell in first} <= set(_USUAL_NAMES.split()):
        raise DataError(
            f"the first line of a TSV file without `source_field` and `target_field` must be a pair, but looks like "
            f"names of columns ({where}). Set both to names (`{first[0]}`, `{first[1]}`), or, if it is a pair, "
            "to 0 and 1."
        )
    names = [str(number) for number in range(len(first))]
    left, right = wanted["source"], wanted["target"]
    numbers = {"source": left if isinstance(left, int) else 0, "target": right if isinstance(right, int) else 1}
    _refuse_separator(first, numbers, where, "," if needs_header else "\t")
    return Columns(False, names, numbers["source"], numbers["target"], _filled(first))


def _refuse_separator(first: list[str], wanted: Mapping[str, str | int | None], where: str, separator: str) -> None:
    """Raise DataError if the first line is a single cell that contains another separator, and splitting at that one
    would give the requested fields (or `source` and `target`)."""
    if len(first) > 1:
        return
    for other in (";", ",", "|", "\t"):
        parts = [part.strip().strip('"') for part in first[0].split(other)]
        asked = [side if field is None else field for side, field in wanted.items()]
        inside = [0 < field < len(parts) if isinstance(field, int) else field in parts for field in asked]
        if other != separator and len(parts) > 1 and any(inside) and not set(asked) & set(first):
            found, must = _SEPARATORS[other], _SEPARATORS[separator]
            ending = ".tsv" if separator == "\t" else ".csv"
            raise DataError(
                f"the columns of a {ending} file must be separated by {must}, but seem to be separated by {found} "
                f"({where}). Write the file with {must}."
            )


def _filled(row: list[str]) -> int:
    """The number of cells of a row without empty ones at its end."""
    return max((number for number, cell in enumerate(row, 1) if cell), default=0)


def _find(field: str | int | None, side: str, header: list[str], where: str) -> int | None:
    """The number of a column in a header; None if no field was requested and no column has the default name."""
    if isinstance(field, int):
        return field
    if field is None:
        return header.index(side) if side in header else None
    if field not in header:
        have = ", ".join(f"`{name}`" for name in header)
        raise DataError(
            f"the header must have the column `{field}`, but has {have}{nearest(field, header)} ({where}). "
            f"Set `{side}_field`."
        )
    return header.index(field)


def _record(columns: Columns, row: list[str], place: DataPlace) -> dict[str, str]:
    missing = max(columns.source or 0, columns.target or 0) >= len(row)  # the message below is more specific
    if columns.header or not missing:
        columns.check(row, place)
    record = dict(zip(columns.names, row, strict=False))
    for side, number in (("source", columns.source), ("target", columns.target)):
        if number is not None:
            if number >= len(row):
                problem = f"a row must have the column {number} (`{side}`, counted from 0), but has {len(row)} columns"
                raise DataError(f"{problem} ({place}). Add it, or set `source_field` and `target_field`.")
            record[side] = row[number]
    return record


def _json_row(lines: LineReader, line: str, source: SourceConfig, place: DataPlace, cursor: Cursor) -> DataRow:
    lines.check()
    return nested_row(json_object(line, place), source, place, cursor)


def json_object(line: str, place: DataPlace) -> dict[str, Any]:
    """The object in a line of JSON; DataError, which names `place`, if it cannot be parsed."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"a line must be a JSON object, but cannot be read: {error} ({place}).") from error
    if not isinstance(found, dict):
        raise DataError(f"a line must be a JSON object, but is a {type(found).__name__} ({place}).")
    return found
