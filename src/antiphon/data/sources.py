"""Records from files or from Python: aligned text files, TSV, CSV and JSONL, each also gzipped, and iterables of pairs.

    for source, target, place in records(SourceConfig(path="pairs.tsv"), load_task("translation")):
        print(source, target, place)        # place prints as file:line

A record is a mapping of texts; a task makes a source and a target of it. Aligned files give the keys `source` and
`target`, tables.py says what the others give. Reading goes on from any `Cursor`; nothing has to be in memory at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath

from antiphon.config import SourceConfig, is_files
from antiphon.data.lines import Cursor, Lines, Place, Row, count_lines, unreadable
from antiphon.data.tables import comma_separated, json_lines, tsv
from antiphon.errors import ConfigError, DataError
from antiphon.text.task import Task

Reader = Callable[[SourceConfig, Cursor], Iterator[Row]]


def records(data: object, task: Task) -> Iterator[tuple[str, str, Place]]:
    """Every (source, target, place) of `data`: a SourceConfig, a tuple of them, or an iterable of pairs of texts.

    Raises DataError that names the file and the line.
    """
    for row in rows(data):
        yield (*pair(row, task), row.place)


def pair(row: Row, task: Task) -> tuple[str, str]:
    """The source and the target that the task makes of a row; DataError where it lacks one."""
    source, target = task.pair(row.record, where=str(row.place))
    if target is None:
        have = ", ".join(row.record)
        remedy = "Set `target_field`, or drop the record."
        raise DataError(
            f"a record to learn from must have a target, but this one ({have}) has none ({row.place}). {remedy}"
        )
    return source, target


def rows(data: object, start: Cursor | None = None) -> Iterator[Row]:
    """Every row of `data`, or those behind `start` (files only)."""
    if not is_files(data):
        assert start is None
        yield from _python_rows(data)
        return
    sources, start = source_list(data), start or Cursor()
    for number in range(start.source, len(sources)):
        yield from _file_rows(sources[number], start if number == start.source else Cursor(number))


def source_list(data: object) -> tuple[SourceConfig, ...]:
    """The file sources of `data`, one or several; none for pairs from Python."""
    if isinstance(data, SourceConfig):
        return (data,)
    return data if is_files(data) and isinstance(data, tuple) else ()


def check_files(data: object) -> None:
    """Raises DataError for what shows without making records: a missing or empty file, sides of different length.

    Lines are counted, in constant memory, so that a mismatch is known before training and not after its first epoch.
    """
    for source in source_list(data):
        _reader(source)
        if source.path is None:
            left, right = source.files
            _same_length(left, right, count_lines(left), count_lines(right))
        elif next(iter(Lines(source.path)), None) is None:
            raise _empty(source.path)


def text_bytes(data: object) -> int:
    """About how much text the files hold; four times their size where they are gzipped."""
    total = 0
    for file in (file for source in source_list(data) for file in source.files):
        try:
            total += os.stat(file).st_size * (4 if file.endswith(".gz") else 1)
        except (OSError, ValueError) as error:
            raise unreadable(file, error) from error
    return total


def _python_rows(data: object) -> Iterator[Row]:
    if not isinstance(data, Iterable) or isinstance(data, str):
        raise DataError(f"data must be files or an iterable of (source, target), but is a {type(data).__name__}.")
    for number, item in enumerate(data):
        place = Place("", number)
        if isinstance(item, Mapping):
            record = {str(key): str(value) for key, value in item.items()}
        elif isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(side, str) for side in item):
            record = {"source": item[0], "target": item[1]}
        else:
            raise DataError(f"a pair must be two texts (source, target), but is {item!r:.80} ({place}).")
        yield Row(record, place, Cursor(0, number + 1))


def _file_rows(source: SourceConfig, start: Cursor) -> Iterator[Row]:
    found = start.line > 0
    for row in _reader(source)(source, start):
        found = True
        yield row
    if not found:
        raise _empty(source.files[0])


def _empty(file: str) -> DataError:
    return DataError(f"a data file must hold at least one record, but `{file}` is empty. Check how it was made.")


def _aligned(source: SourceConfig, start: Cursor) -> Iterator[Row]:
    (left_offset, right_offset), (left_file, right_file) = start.offsets or (0, 0), source.files
    left = Lines(left_file, offset=left_offset, number=start.line)
    right = Lines(right_file, offset=right_offset, number=start.line)
    left_lines, right_lines = iter(left), iter(right)
    while True:
        one, other = next(left_lines, None), next(right_lines, None)
        if one is None or other is None:
            _same_length(left_file, right_file, left.number + left.count_rest(), right.number + right.count_rest())
            return
        place = Place(left_file, left.number, right_file)
        yield Row(
            {"source": one, "target": other}, place, Cursor(start.source, left.number, (left.offset, right.offset))
        )


def _same_length(left: str, right: str, left_count: int, right_count: int) -> None:
    for file, count in ((left, left_count), (right, right_count)):
        if count == 0:
            raise _empty(file)
    if left_count != right_count:
        shorter = left if left_count < right_count else right
        raise DataError(
            f"source and target must have the same number of lines, but `{left}` has {left_count} and `{right}` has "
            f"{right_count} ({shorter}:{min(left_count, right_count)} is the last pair). Align them line by line."
        )


def _reader(source: SourceConfig) -> Reader:
    if source.path is None:
        return _aligned
    suffix = PurePath(source.path.removesuffix(".gz")).suffix.lower()
    if suffix not in _READERS:
        remedy = "For two aligned text files write `source` and `target`."
        raise ConfigError(
            f"`path` must end in {', '.join(_READERS)}, or that and .gz, but is `{source.path}`. {remedy}"
        )
    return _READERS[suffix]


_READERS: dict[str, Reader] = {".tsv": tsv, ".csv": comma_separated, ".jsonl": json_lines}
