"""The rows of a shard, whatever its files are: the source of each, its target or references, and its columns.

A row that cannot be read has its `fault` set, and reading continues with the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from antiphon.bulk.job import BulkJob, BulkShard
from antiphon.bulk.parquet import parquet_batches
from antiphon.config import SourceConfig
from antiphon.data.lines import Cursor, DataPlace, DataRow, LineReader, check_same_length, count_lines
from antiphon.data.media.references import with_media
from antiphon.data.nested import plain_values, texts_of
from antiphon.data.sources import check_files, checked_cases, readers
from antiphon.data.templates import fill, places
from antiphon.data.whole_rows import SOURCES, CheckedTableRow, InputTable, TableRow, source_column
from antiphon.errors import DataError
from antiphon.evaluation.test_set import TestExample, made_by_task, task_of
from antiphon.generation.requests import sources_of_table
from antiphon.generation.translator import Translator
from antiphon.settings import build
from antiphon.urls import without_query


class BulkRow(NamedTuple):
    """A row: the source to answer, its target or references, and of a table all its columns (of parquet, the record
    batch and the number of the row in it). `fault` is the error of a row that cannot be read."""

    place: DataPlace
    source: str = ""
    targets: tuple[str, ...] = ()
    whole: TableRow | None = None
    arrow: tuple[Any, int] | None = None
    fault: DataError | None = None

    @property
    def characters(self) -> int:
        """About the length of the row in its file."""
        if self.whole is not None:
            return len(self.whole.line) or sum(map(len, self.whole.values))
        return len(self.source) + sum(map(len, self.targets))


def rows_of(job: BulkJob, shard: BulkShard, model: Translator) -> Iterator[BulkRow]:
    """Every row of the shard. The task of `model` makes the references of records for evaluation."""
    if shard.kind == "lines":
        return _lines(shard.files[0])
    if shard.kind == "aligned":
        return _references(shard, model) if job.task == "evaluate" else _aligned(*shard.files)
    if shard.kind == "source":
        return _cases(shard, model)
    target = (job.target_field or "target") if job.task == "score" else None
    file, parquet = shard.files[0], without_query(shard.files[0]).endswith(".parquet")
    source = job.source_field
    if source is None:
        source = (_parquet_column(file) if parquet else source_column(file)) or "source"
    return _with_references(_parquet(file, source, target) if parquet else _table(file, source, target), model)


def _parquet_column(file: str) -> str | None:
    first = next(iter(parquet_batches(file)), None)
    return None if first is None else next((name for name in SOURCES if name in first.schema.names), None)


def _with_references(rows: Iterator[BulkRow], model: Translator) -> Iterator[BulkRow]:
    """The rows of a table, whose sources are references if the model reads images or sound."""
    for row in rows:
        if row.fault is None:
            whole = TableRow(row.source, (), ()) if row.whole is None else row.whole._replace(text=row.source)
            row = row._replace(source=sources_of_table(model, [whole], row.place.file)[0])
        yield row


def _lines(path: str) -> Iterator[BulkRow]:
    lines = LineReader(path, go_on=True)
    for line in lines:
        place = DataPlace(path, lines.number)
        try:
            lines.check()
        except DataError as error:
            yield BulkRow(place, fault=error)
            continue
        yield BulkRow(place, line)


def _aligned(source: str, target: str) -> Iterator[BulkRow]:
    files = SourceConfig(source=source, target=target)
    check_files(files)  # before anything is computed
    for row in readers(files)[0](Cursor()):
        if row.fault is not None:
            yield BulkRow(row.place, fault=row.fault)
        else:
            yield BulkRow(row.place, row.record["source"], (row.record["target"],))


def _references(shard: BulkShard, model: Translator) -> Iterator[BulkRow]:
    """The lines of a file of sources with those of one or more files of references."""
    first, *others = shard.files
    count = count_lines(first)
    for other in others:  # before anything is computed
        check_same_length(first, other, count, count_lines(other))
    sides = [LineReader(file, go_on=True) for file in shard.files]
    for number, (source, *targets) in enumerate(zip(*sides, strict=True), 1):
        place = DataPlace(first, number)
        try:
            for side in sides:
                side.check()
            (example,) = made_by_task([TestExample(source, targets, first, str(place))], model)
        except DataError as error:
            yield BulkRow(place, fault=error)
            continue
        yield BulkRow(place, source, tuple(example.references))


def _cases(shard: BulkShard, model: Translator) -> Iterator[BulkRow]:
    for source, targets, place, fault in checked_cases(build(SourceConfig, shard.source or {}), task_of(model)):
        yield BulkRow(place, source, tuple(targets), fault=fault)


def _table(path: str, source: int | str, target: int | str | None) -> Iterator[BulkRow]:
    tables = [InputTable(path, field) for field in (source, target) if field is not None]
    for rows in zip(*(table.rows() for table in tables), strict=True):
        faults = [row.fault for row in rows if row.fault is not None]
        if faults:
            yield BulkRow(rows[0].place, fault=faults[0])
        else:
            yield _whole_row(rows)


def _whole_row(rows: tuple[CheckedTableRow, ...]) -> BulkRow:
    first, *others = rows
    targets = tuple(row.whole.text for row in others)
    return BulkRow(first.place, first.whole.text, targets, first.whole)


def _parquet(path: str, source: int | str, target: int | str | None) -> Iterator[BulkRow]:
    number = 0
    for batch in parquet_batches(path):
        for inside, found in enumerate(batch.to_pylist()):
            number += 1
            place = DataPlace(path, number)
            try:
                text = text_of(found, source, "source_field", place)
                targets = () if target is None else (text_of(found, target, "target_field", place),)
            except DataError as error:
                yield BulkRow(place, fault=error)
                continue
            yield BulkRow(place, text, targets, arrow=(batch, inside))


def text_of(found: dict[str, Any], field: int | str, setting: str, place: DataPlace) -> str:
    """The text of a field, or of a template of several."""
    if places(field):
        return fill(DataRow(plain_values(found), place, Cursor()), {"source": str(field)}).record["source"]
    texts = texts_of(with_media(found, place), str(field), setting, place)
    return texts[0] if len(texts) == 1 else " ".join(texts)  # a reference stays one
