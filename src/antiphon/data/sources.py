"""Records from files or from Python: aligned text files, tables, data sets of the hub, and iterables of pairs.

    for source, target, place in records(SourceConfig(path="pairs.tsv"), load_task("translation")):
        print(source, target, place)        # place prints as file:line

A record maps field names to texts; a task turns it into a source and a target. Aligned files have the fields `source`
and `target`; for other formats see tables.py, nested.py and columns.py, for sources of many files shards.py. A record
may have several targets: for training it is one record for each, for evaluation `cases` keeps them together. Reading
can resume at any `Cursor`. Files are streamed, never held in memory as a whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import PurePath
from typing import Any, NamedTuple

from antiphon.config import SourceConfig, is_files, source_list
from antiphon.data.bad_rows import BadRows, OnBadRow, readable_rows, row_or_fault
from antiphon.data.columns import hub, hub_files, parquet
from antiphon.data.lines import (
    PACKED,
    Cursor,
    DataPlace,
    DataRow,
    LineReader,
    check_same_length,
    count_lines,
    file_size,
    unpacked_name,
)
from antiphon.data.media.archives import folder_rows, is_archive, is_folder, tar_rows
from antiphon.data.media.references import Reference, located
from antiphon.data.nested import nested_row
from antiphon.data.shards import shard_files, shards
from antiphon.data.tables import comma_separated, json_lines, tsv
from antiphon.data.templates import fill, templates_of, without_templates
from antiphon.errors import ConfigError, DataError
from antiphon.text.kinds import is_media_name
from antiphon.text.task import Task
from antiphon.urls import RemoteName, without_query

Reader = Callable[[SourceConfig, Cursor], Iterator[DataRow]]
RowReader = Callable[[Cursor], Iterator[DataRow]]


def records(data: object, task: Task, *, bad_rows: OnBadRow = "error") -> Iterator[tuple[str, str, DataPlace]]:
    """Every (source, target, place) of `data`: a SourceConfig, a tuple of them, or an iterable of pairs of texts.

    A record with several targets is yielded once for each; plain text, which has no target, is skipped. Raises
    DataError with file and line for rows that cannot be read, unless `bad_rows` is skip.
    """
    bad = BadRows(bad_rows)
    for read in readers(data):
        for row, (source, target) in readable_rows(read(Cursor()), lambda row: pair(row, task), bad):
            if not row.plain:
                yield prefixed(row, source), target, row.place


def cases(data: object, task: Task, *, bad_rows: OnBadRow = "error") -> Iterator[tuple[str, list[str], DataPlace]]:
    """Every (source, targets, place) of `data`: as `records`, but with all the targets of a record together."""

    for row, made in readable_rows(_records(data), partial(_pairs, task=task), BadRows(bad_rows)):
        if not row.plain:
            yield prefixed(row, made[0][0]), [target for _, target in made], row.place


def checked_cases(data: object, task: Task) -> Iterator[tuple[str, list[str], DataPlace, DataError | None]]:
    """As `cases`, with the error of each row that cannot be read in place of raising or skipping it."""
    for row in _records(data):
        try:
            if row.fault is not None:
                raise row.fault
            made = _pairs(row, task)
        except DataError as error:
            yield "", [], row.place, error
            continue
        if not row.plain:
            yield prefixed(row, made[0][0]), [target for _, target in made], row.place, None


def _pairs(row: DataRow, task: Task) -> list[tuple[str, str]]:
    """The source and each target of a record, as the task makes them."""
    return [pair(one, task) for one in _one_each(row, Cursor())]


def pair(row: DataRow, task: Task) -> tuple[str, str]:
    """The source and target that the task makes of a row, without the source prefix. DataError if one is missing.

    The source of a task of images or sound is a reference (media/references.py), with its prompt; so is that of a text
    with an image, with the text.
    """
    if row.plain:  # no task applies: the denoising objective makes both sides
        return row.record["source"], row.record["source"]
    source, target = task.pair(row.record, where=row.place)
    if target is None:
        have = ", ".join(row.record)
        remedy = "Set `target_field`, or drop the record."
        raise DataError(
            f"a record to learn from must have a target, but this one ({have}) has none ({row.place}). {remedy}"
        )
    if task.media:
        prompt = row.source_prefix + task.prompt(row.record)
        source = located(source, table=row.place.file, folder=row.folder, prompt=prompt)
    elif task.images_in_texts:
        record = {**row.record, "image": source} if isinstance(source, Reference) else row.record
        image, text = task.image_and_text(record, source)
        prompt = row.source_prefix + text
        source = located(image, table=row.place.file, folder=row.folder, prompt=prompt) if image else text
    return source, target


def prefixed(row: DataRow, source: str) -> str:
    """A source after the tag and the prefix of its row. Those of a reference are in its prompt."""
    return source if isinstance(source, Reference) else row.source_prefix + source


def rows(data: object, start: Cursor | None = None) -> Iterator[DataRow]:
    """Every row of `data`, one for each target; with `start`, the rows after it. DataError for unreadable rows."""
    start, bad = start or Cursor(), BadRows()
    for number, read in list(enumerate(readers(data)))[start.source :]:
        found = read(start if number == start.source else Cursor(number))
        yield from (row for row, _ in readable_rows(found, lambda row: None, bad))


def readers(data: object) -> list[RowReader]:
    """A function for each source of `data` (or one for pairs from Python) that reads the rows after a cursor.

    There is one row for each target. A row that cannot be read has its `fault` set. The shards of a source follow one
    another.
    """
    return [partial(_in_turn, found) for found in shard_readers(data)]


class ShardReader(NamedTuple):
    """A shard: its name in messages, and a function that reads the rows of it after a cursor."""

    title: str
    read: RowReader


def shard_readers(data: object) -> list[list[ShardReader]]:
    """The shards of each source of `data`; pairs from Python are one."""
    if is_files(data):
        return [
            [ShardReader(shard.title, partial(_shard_rows, shard)) for shard in shards(source)]
            for source in source_list(data)
        ]
    return [[ShardReader("pairs", lambda start: _singles(islice(_python_rows(data), start.line, None), start))]]


def _shard_rows(shard: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    return _singles(_file_rows(shard, start), start)


def _in_turn(found: list[ShardReader], start: Cursor) -> Iterator[DataRow]:
    """The rows of all shards after `start`."""
    for number in range(start.shard, len(found)):
        yield from found[number].read(start if number == start.shard else Cursor(start.source, shard=number))


def _records(data: object) -> Iterator[DataRow]:
    """Every row of `data`, one for each record."""
    if not is_files(data):
        yield from _python_rows(data)
    for number, source in enumerate(source_list(data)):
        for place, shard in enumerate(shards(source)):
            yield from _file_rows(shard, Cursor(number, shard=place))


def _singles(found: Iterator[DataRow], start: Cursor) -> Iterator[DataRow]:
    """Rows with one target each; of the first record the first `start.part` targets are skipped."""
    before, passed = start._replace(part=0), start.part
    for row in found:
        yield from islice(_one_each(row, before), passed, None)
        before, passed = row.cursor, 0


def _one_each(row: DataRow, before: Cursor) -> Iterator[DataRow]:
    """A row for each target of `row`. The cursor of all but the last is `before` with the number of targets done."""
    if not row.targets:
        yield row
    for part, target in enumerate(row.targets, 1):
        cursor = row.cursor if part == len(row.targets) else before._replace(part=part)
        yield row._replace(record={**row.record, "target": target}, cursor=cursor, targets=())


def check_files(data: object) -> None:
    """Raise DataError for faults that show without parsing: a missing or empty file, sides of different length.

    Lines are counted in constant memory, so that a mismatch is reported before training, not after its first epoch. Of
    remote files the first shard of a source alone is opened: the lengths of its sides are compared where it is read.
    """
    for source in source_list(data):
        known = shards(source)
        near = [shard for shard in known if not any(isinstance(file, RemoteName) for file in shard.files)]
        for shard in near or known[:1]:
            _check_shard(shard, count=bool(near))


def _check_shard(shard: SourceConfig, *, count: bool) -> None:
    reader = _reader(shard)
    if shard.text is not None or shard.path is not None:
        path = shard.path
        first = iter(LineReader(path)) if reader in _OF_LINES and isinstance(path, str) else reader(shard, Cursor())
        if next(first, None) is None:
            raise _empty(shard.title)
        return
    left, right = shard.files
    _there(left, right)
    if count:
        _same_length(left, right, count_lines(left), count_lines(right))
    elif next(reader(shard, Cursor()), None) is None:
        raise _empty(shard.title)


def check_readable(data: object, task: Task, *, bad_rows: OnBadRow = "error") -> None:
    """Raise DataError if all sources of the first pairs are names of image or sound files.

    A model would learn from the letters of the names. A single such line among other texts is valid text. A task of
    images or sound reads them.
    """
    if task.media:
        return
    first, where, bad = None, None, BadRows(bad_rows)
    found = (item for read in readers(data) for item in readable_rows(read(Cursor()), lambda row: pair(row, task), bad))
    for row, (source, _) in islice((item for item in found if not item[0].plain), _PAIRS_CHECKED):
        if isinstance(source, Reference) or not is_media_name(source):
            return
        first, where = first or source, where or row.place
    if first is not None:
        remedy = "Set `model.input` to image or audio, or give what is in them as text."
        if task.images_in_texts:
            remedy = "Call the column of the images `image`."
        raise DataError(
            f"sources must be text, which is what a model learns from, but all of the first are names of files such as "
            f"`{first}` ({where}). {remedy}"
        )


def text_bytes(data: object) -> float:
    """An estimate of the bytes of text in the files: four times the size of compressed ones; inf if not known."""
    total = 0.0
    for source in source_list(data):
        if source.hub is not None:
            size = hub_files(source)[1]
            total += math.inf if size is None else 4 * size
        for file in shard_files(source):
            if is_folder(file):
                continue
            size = file_size(file)
            if size is not None and is_archive(file):  # of a row its names and texts alone are in memory
                size //= _BYTES_OF_A_ROW
            total += (
                math.inf if size is None else size * (4 if without_query(file).endswith((*PACKED, ".parquet")) else 1)
            )
    return total


def _python_rows(data: object) -> Iterator[DataRow]:
    if not isinstance(data, Iterable) or isinstance(data, str):
        raise DataError(f"data must be files or an iterable of (source, target), but is a {type(data).__name__}.")
    for number, item in enumerate(data):
        place, cursor = DataPlace("", number), Cursor(0, number + 1)
        yield row_or_fault(partial(_python_row, item, place, cursor), place, cursor)


def _python_row(item: object, place: DataPlace, cursor: Cursor) -> DataRow:
    if isinstance(item, Mapping):
        return nested_row(item, None, place, cursor)
    if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], os.PathLike):
        item = (os.fspath(item[0]), item[1])
    if isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(side, str) for side in item):
        return DataRow({"source": item[0], "target": item[1]}, place, cursor)
    raise DataError(f"a pair must be two texts (source, target), but is {item!r:.80} ({place}).")


def _file_rows(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    found, prefix, plain = start.line > 0, source.source_prefix, source.is_text
    if source.text_field is not None:  # readers only know source and target fields
        source = replace(source, source_field=source.text_field, target_field=source.text_field, **_NO_TEXT)
    templates = templates_of(source)
    for row in _reader(source)(without_templates(source) if templates else source, start):
        found = True
        filled = row
        if source.folder is not None:
            filled = row._replace(folder=source.folder)
        if templates and row.fault is None:
            filled = row_or_fault(partial(fill, filled, templates), row.place, row.cursor)
        if filled.fault:
            yield filled
        elif plain:
            text = filled.record["source"]
            yield filled._replace(record={"source": text, "target": text}, targets=(), source_prefix=prefix, plain=True)
        else:
            yield filled._replace(source_prefix=prefix) if prefix else filled
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
        cursor = Cursor(start.source, left.number, (left.offset, right.offset), 0, start.shard)
        fault = left.fault or right.fault
        if fault is not None:
            left.fault = right.fault = None
            yield DataRow({}, place, cursor, fault=fault)
        else:
            yield DataRow({"source": one, "target": other}, place, cursor)


def _there(left: str, right: str) -> None:
    """Raise DataError if neither file exists: they may be texts that look like file names."""
    if isinstance(left, RemoteName) or isinstance(right, RemoteName):
        return
    if not os.path.lexists(left) and not os.path.lexists(right):
        raise DataError(
            f"the data files `{left}` and `{right}` cannot be read: there are none. Check the paths; if they are "
            "texts, give pairs (source, target) in Python, not mappings."
        )


def _plain_lines(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The lines of a file of plain text. Blank lines, which separate documents in some corpora, are skipped."""
    assert isinstance(source.text, str)
    lines = LineReader(source.text, offset=sum(start.offsets), number=start.line)
    for line in lines:
        if line.strip():
            cursor = Cursor(start.source, lines.number, (lines.offset,), 0, start.shard)
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
    assert isinstance(source.path, str)
    if is_folder(source.path):
        return folder_rows
    if is_archive(source.path):
        return tar_rows
    if _is_parquet(source.path):
        return parquet
    suffix = PurePath(unpacked_name(source.path)).suffix.lower()
    if suffix not in _READERS:
        known = f"{', '.join(_READERS)}, or these and .gz or .zst, or .parquet, or .tar"
        remedy = "For two aligned text files write `source` and `target`."
        raise ConfigError(f"`path` must end in {known}, but is `{source.path}`. {remedy}")
    return _READERS[suffix]


def _is_parquet(file: str) -> bool:
    return without_query(file).lower().endswith(".parquet")


_READERS: dict[str, Reader] = {".tsv": tsv, ".csv": comma_separated, ".jsonl": json_lines}
_BYTES_OF_A_ROW = 256  # in an archive for each byte of its row in memory: about 64 KB
_PAIRS_CHECKED = 1000  # pairs whose sources are checked before a run
_NO_TEXT: dict[str, Any] = {"text_field": None, "objective": None}
_OF_LINES = tuple(_READERS.values())
