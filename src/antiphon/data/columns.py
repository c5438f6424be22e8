"""Readers for parquet files and for data sets of the library `datasets`: `hub:wmt/wmt19`, or `hub:` and a folder.

Both yield Arrow tables, a chunk of rows at a time, in order. nested.py turns a row into a record. Rows are numbered
from 1. Reading can resume after any row: row groups (parquet) or whole chunks (hub) before it are skipped without being
decoded. The code of a data set is never run: datasets 4 and later refuses it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from antiphon.config import SourceConfig
from antiphon.data.bad_rows import row_or_fault
from antiphon.data.lines import Cursor, DataPlace, DataRow, open_bytes, unreadable
from antiphon.data.nested import nested_row
from antiphon.data.zstd import needs
from antiphon.errors import AntiphonError, DataError, ReadError, one_line
from antiphon.urls import RemoteName, known_name

_CHUNK_ROWS = 1000  # rows decoded together


def parquet(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The rows of a parquet file after `start`."""
    assert isinstance(source.path, str)
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise needs("pyarrow", f"reading `{source.path}`") from error
    try:
        with ExitStack() as stack:
            remote = isinstance(known_name(source.path), RemoteName)
            stored = stack.enter_context(open_bytes(source.path)) if remote else source.path
            file = stack.enter_context(ParquetFile(stored))
            groups, first = _groups_behind(file, start.line)
            tables = file.iter_batches(batch_size=_CHUNK_ROWS, row_groups=groups)
            yield from _rows(source, tables, first, start)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise unreadable(source.path, error) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        if isinstance(error, AntiphonError):
            raise
        raise DataError(
            f"the data file `{source.path}` must be whole parquet data, but is not ({_line(error)}). Fetch it again."
        ) from error


def hub(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The rows of a hub data set after `start`, streamed."""
    assert source.hub is not None
    datasets = _datasets(source)
    try:
        found = datasets.load_dataset(source.hub, source.name, split=source.split, streaming=True)
        yield from _rows(source, found.with_format("arrow").iter(_CHUNK_ROWS), 0, start)
    except DataError:
        raise
    except Exception as error:  # a library over a network may raise anything
        raise _no_hub(source, error) from error


def hub_files(source: SourceConfig) -> tuple[list[str], int | None]:
    """The files of a hub source (local paths, or names with their commit) and their total bytes (None if unknown)."""
    assert source.hub is not None
    datasets = _datasets(source)
    try:
        builder = datasets.load_dataset_builder(source.hub, source.name)
    except Exception as error:  # a library over a network may raise anything
        raise _no_hub(source, error) from error
    files = sorted(str(file) for split in (builder.config.data_files or {}).values() for file in split)
    local = all(os.path.exists(file) for file in files)
    return files, sum(os.path.getsize(file) for file in files) if local else builder.info.dataset_size


def _datasets(source: SourceConfig) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise needs("datasets", f"reading `{source.path}`") from error
    datasets.disable_progress_bars()
    return datasets


def _groups_behind(file: Any, row: int) -> tuple[list[int], int]:
    """The row groups that contain the rows after the first `row` ones, and the number of rows before these groups."""
    before = group = 0
    count = file.metadata.num_row_groups
    while group < count and before + file.metadata.row_group(group).num_rows <= row:
        before += file.metadata.row_group(group).num_rows
        group += 1
    return list(range(group, count)), before


def _rows(source: SourceConfig, tables: Iterator[Any], number: int, start: Cursor) -> Iterator[DataRow]:
    """The rows of `tables` after `start`; `number` rows precede the first table."""
    assert isinstance(source.path, str)
    file = source.path
    while True:
        try:
            table = next(tables, None)
        except ReadError as error:
            error.row = max(number, start.line)
            raise
        if table is None:
            return
        passed = min(table.num_rows, max(0, start.line - number))
        number += passed
        for found in _plain_rows(table.slice(passed)) if passed < table.num_rows else ():
            number += 1
            place, cursor = DataPlace(file, number), Cursor(start.source, number, (), 0, start.shard)
            yield row_or_fault(partial(nested_row, found, source, place, cursor), place, cursor)


def _plain_rows(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of a table or batch as mappings. A column is converted as a whole: `to_pylist` of the table takes twice
    as long."""
    names = table.schema.names
    if len(set(names)) < len(names):
        yield from table.to_pylist()
        return
    for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _no_hub(source: SourceConfig, error: Exception) -> DataError:
    remedy = "Check `path`, `name`, `split` and the network."
    return DataError(f"the data set `{source.path}` cannot be read ({_line(error)}). {remedy}")


def _line(error: Exception) -> str:
    return one_line(error)[:200].rstrip(".") or type(error).__name__
