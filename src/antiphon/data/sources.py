"""Records from files or from Python: aligned text files, tables, data sets of the hub, and iterables of pairs.

    for source, target, place in records(SourceConfig(path="pairs.tsv"), load_task("translation")):
        print(source, target, place)        # place prints as file:line

A record is a mapping of texts; a task makes a source and a target of it. Aligned files give the keys `source` and
`target`; tables.py, nested.py and columns.py say what the others give. A record may hold several targets: to learn
from, it is one record for each; to be judged by, `cases` keeps them together. Reading goes on from any `Cursor`, and
nothing has to be in memory at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import PurePath
from typing import Any

from antiphon.config import SourceConfig, is_files, source_list
from antiphon.data.bad_rows import BadRows, How, row_of, sound
from antiphon.data.columns import hub, hub_files, parquet
from antiphon.data.lines import (
    PACKED,
    Cursor,
    DataPlace,
    DataRow,
    LineReader,
    check_same_length,
    count_lines,
    unpacked_name,
    unreadable,
)
from antiphon.data.nested import nested_row
from antiphon.data.tables import comma_separated, json_lines, tsv
from antiphon.data.templates import fill, templates_of, without_templates
from antiphon.errors import ConfigError, DataError
from antiphon.text.kinds import is_media_name
from antiphon.text.task import Task

Reader = Callable[[SourceConfig, Cursor], Iterator[DataRow]]


def records(data: object, task: Task, *, bad_rows: How = "error") -> Iterator[tuple[str, str, DataPlace]]:
    """Every (source, target, place) of `data`: a SourceConfig, a tuple of them, or an iterable of pairs of texts.

    A record with several targets comes once for each; plain text, which has no target, is passed over. Raises DataError
    that names the file and the line of rows that cannot be read, unless `bad_rows` says skip.
    """
    bad = BadRows(bad_rows)
    for read in readers(data):
        for row, (source, target) in sound(read(Cursor()), lambda row: pair(row, task), bad):
            if not row.plain:
                yield row.front + source, target, row.place


def cases(data: object, task: Task, *, bad_rows: How = "error") -> Iterator[tuple[str, list[str], DataPlace]]:
    """Every (source, targets, place) of `data`: as `records`, but with all the targets of a record together."""

    def pairs(row: DataRow) -> list[tuple[str, str]]:
        return [pair(one, task) for one in _one_each(row, Cursor())]

    for row, made in sound(_records(data), pairs, BadRows(bad_rows)):
        if not row.plain:
            yield row.front + made[0][0], [target for _, target in made], row.place


def pair(row: DataRow, task: Task) -> tuple[str, str]:
    """The source and the target that the task makes of a row, without its front; DataError where it lacks one."""
    if row.plain:  # no task is asked, since the objective makes both sides of it
        return row.record["source"], row.record["source"]
    source, target = task.pair(row.record, where=str(row.place))
    if target is None:
        have = ", ".join(row.record)
        remedy = "Set `target_field`, or drop the record."
        raise DataError(
            f"a record to learn from must have a target, but this one ({have}) has none ({row.place}). {remedy}"
        )
    return source, target


def rows(data: object, start: Cursor | None = None) -> Iterator[DataRow]:
    """Every row of `data`, one for each target, or those behind `start`; DataError for one that cannot be read."""
    start, bad = start or Cursor(), BadRows()
    for number, read in list(enumerate(readers(data)))[start.source :]:
        found = read(start if number == start.source else Cursor(number))
        yield from (row for row, _ in sound(found, lambda row: None, bad))


def readers(data: object) -> list[Callable[[Cursor], Iterator[DataRow]]]:
    """A function for each source of `data`, or one for pairs from Python: the rows behind a cursor, one a target.

    A row that cannot be read has a `fault`.
    """
    if is_files(data):
        return [lambda start, source=source: _singles(_file_rows(source, start), start) for source in source_list(data)]
    return [lambda start: _singles(islice(_python_rows(data), start.line, None), start)]


def _records(data: object) -> Iterator[DataRow]:
    """Every row of `data`, once for each record."""
    if not is_files(data):
        yield from _python_rows(data)
    for number, source in enumerate(source_list(data)):
        yield from _file_rows(source, Cursor(number))


def _singles(found: Iterator[DataRow], start: Cursor) -> Iterator[DataRow]:
    """The rows with one target each, without the first `start.part` of the first."""
    before, passed = start._replace(part=0), start.part
    for row in found:
        yield from islice(_one_each(row, before), passed, None)
        before, passed = row.cursor, 0


def _one_each(row: DataRow, before: Cursor) -> Iterator[DataRow]:
    """A row for each target; behind all but the last one, reading goes on from `before` with some parts done."""
    if not row.targets:
        yield row
    for part, target in enumerate(row.targets, 1):
        cursor = row.cursor if part == len(row.targets) else before._replace(part=part)
        yield row._replace(record={**row.record, "target": target}, cursor=cursor, targets=())


def check_files(data: object) -> None:
    """Raises DataError for what shows without making records: a missing or empty file, sides of different length.

    Lines are counted, in constant memory, so that a mismatch is known before training and not after its first epoch.
    """
    for source in source_list(data):
        reader = _reader(source)
        if source.text is not None:
            if next(reader(source, Cursor()), None) is None:
                raise _empty(source.text)
        elif source.path is None:
            left, right = source.files
            _there(left, right)
            _same_length(left, right, count_lines(left), count_lines(right))
        elif next(iter(LineReader(source.path) if reader in _OF_LINES else reader(source, Cursor())), None) is None:
            raise _empty(source.path)


def check_readable(data: object, task: Task, *, bad_rows: How = "error") -> None:
    """DataError where the sources of the first pairs are nothing but names of image and sound files: only the letters
    of the names would be learned. One such line among texts is a text."""
    first, where, bad = None, None, BadRows(bad_rows)
    found = (item for read in readers(data) for item in sound(read(Cursor()), lambda row: pair(row, task), bad))
    for row, (source, _) in islice((item for item in found if not item[0].plain), _LOOKED_AT):
        if not is_media_name(source):
            return
        first, where = first or source, where or row.place
    if first is not None:
        raise DataError(
            f"sources must be text, which is what a model learns from, but all of the first are names of files such as "
            f"`{first}` ({where}). Images and sounds cannot be learned from yet; give what is in them as text."
        )


def text_bytes(data: object) -> float:
    """About how much text the files hold, four times their size where they are packed; infinite where nobody knows."""
    total = 0.0
    for source in source_list(data):
        if source.hub is not None:
            size = hub_files(source)[1]
            total += math.inf if size is None else 4 * size
        for file in source.files:
            try:
                total += os.stat(file).st_size * (4 if file.endswith((*PACKED, ".parquet")) else 1)
            except (OSError, ValueError) as error:
                raise unreadable(file, error) from error
    return total


def _python_rows(data: object) -> Iterator[DataRow]:
    if not isinstance(data, Iterable) or isinstance(data, str):
        raise DataError(f"data must be files or an iterable of (source, target), but is a {type(data).__name__}.")
    for number, item in enumerate(data):
        place, cursor = DataPlace("", number), Cursor(0, number + 1)
        yield row_of(partial(_python_row, item, place, cursor), place, cursor)


def _python_row(item: object, place: DataPlace, cursor: Cursor) -> DataRow:
    if isinstance(item, Mapping):
        return nested_row(item, None, place, cursor)
    if isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(side, str) for side in item):
        return DataRow({"source": item[0], "target": item[1]}, place, cursor)
    raise DataError(f"a pair must be two texts (source, target), but is {item!r:.80} ({place}).")


def _file_rows(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    found, front, plain = start.line > 0, source.front, source.is_text
    if source.text_field is not None:  # readers know sources and targets
        source = replace(source, source_field=source.text_field, target_field=source.text_field, **_NO_TEXT)
    templates = templates_of(source)
    for row in _reader(source)(without_templates(source) if templates else source, start):
        found = True
        filled = row
        if templates and row.fault is None:
            filled = row_of(partial(fill, row, templates), row.place, row.cursor)
        if filled.fault:
            yield filled
        elif plain:
            text = filled.record["source"]
            yield filled._replace(record={"source": text, "target": text}, targets=(), front=front, plain=True)
        else:
            yield filled._replace(front=front) if front else filled
    if not found:
        raise _empty(source.title)


def _empty(file: str) -> DataError:
    return DataError(f"a data file must hold at least one record, but `{file}` is empty. Check how it was made.")


def _aligned(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    (left_offset, right_offset), (left_file, right_file) = start.offsets or (0, 0), source.files
    if not start.line:
        _there(left_file, right_file)
    left = LineReader(left_file, offset=left_offset, number=start.line, go_on=True)
    right = LineReader(right_file, offset=right_offset, number=start.line, go_on=True)
    left_lines, right_lines = iter(left), iter(right)
    while True:
        one, other = next(left_lines, None), next(right_lines, None)
        if one is None or other is None:
            _same_length(left_file, right_file, left.number + left.count_rest(), right.number + right.count_rest())
            return
        place = DataPlace(left_file, left.number, right_file)
        cursor = Cursor(start.source, left.number, (left.offset, right.offset))
        faults = [lines.fault for lines in (left, right) if lines.fault is not None]
        left.fault = right.fault = None
        if faults:
            yield DataRow({}, place, cursor, fault=faults[0])
        else:
            yield DataRow({"source": one, "target": other}, place, cursor)


def _there(left: str, right: str) -> None:
    """DataError where neither side is a file: they may be texts that look like names of files."""
    if not os.path.lexists(left) and not os.path.lexists(right):
        raise DataError(
            f"the data files `{left}` and `{right}` cannot be read: there are none. Check the paths; if they are "
            "texts, give pairs (source, target) in Python, not mappings."
        )


def _plain_lines(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The lines of a file of plain text; blank ones, which part documents in some, are passed over."""
    assert source.text is not None
    lines = LineReader(source.text, offset=sum(start.offsets), number=start.line)
    for line in lines:
        if line.strip():
            cursor = Cursor(start.source, lines.number, (lines.offset,))
            yield DataRow({"source": line, "target": line}, DataPlace(source.text, lines.number), cursor)


def _same_length(left: str, right: str, left_count: int, right_count: int) -> None:
    for file, count in ((left, left_count), (right, right_count)):
        if count == 0:
            raise _empty(file)
    check_same_length(left, right, left_count, right_count)


def _reader(source: SourceConfig) -> Reader:
    if source.text is not None:
        return _plain_lines
    if source.path is None:
        return _aligned
    if source.hub is not None:
        return hub
    if source.path.lower().endswith(".parquet"):
        return parquet
    suffix = PurePath(unpacked_name(source.path)).suffix.lower()
    if suffix not in _READERS:
        known = f"{', '.join(_READERS)}, or these and .gz or .zst, or .parquet"
        remedy = "For two aligned text files write `source` and `target`."
        raise ConfigError(f"`path` must end in {known}, but is `{source.path}`. {remedy}")
    return _READERS[suffix]


_READERS: dict[str, Reader] = {".tsv": tsv, ".csv": comma_separated, ".jsonl": json_lines}
_LOOKED_AT = 1000  # pairs whose sources are looked at before a run
_NO_TEXT: dict[str, Any] = {"text_field": None, "objective": None}
_OF_LINES = tuple(_READERS.values())
