"""Rows of parquet files, and of data sets that the library datasets loads: `hub:wmt/wmt19`, or `hub:` and a folder.

Both give Arrow tables, a stretch of rows at a time and in order; nested.py says how a row becomes a record. A row is
named by its number from 1. Reading goes on behind any row: row groups (parquet) or whole stretches (hub) are passed
over without making records of them. A data set's own code is never run: datasets (from 4) refuses it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from antiphon.config import SourceConfig
from antiphon.data.bad_rows import row_of
from antiphon.data.lines import Cursor, DataPlace, DataRow, unreadable
from antiphon.data.nested import nested_row
from antiphon.data.zstd import needs
from antiphon.errors import DataError, one_line

_STRETCH = 1000  # rows that are made together


def parquet(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The rows of a parquet file behind `start`."""
    assert source.path is not None
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise needs("pyarrow", f"reading `{source.path}`") from error
    try:
        with ParquetFile(source.path) as file:
            groups, first = _groups_behind(file, start.line)
            tables = file.iter_batches(batch_size=_STRETCH, row_groups=groups)
            yield from _rows(source, tables, first, start)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise unreadable(source.path, error) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"the data file `{source.path}` must be whole parquet data, but is not ({_line(error)}). Fetch it again."
        ) from error


def hub(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The rows of a data set of the hub behind `start`, streamed."""
    assert source.hub is not None
    datasets = _datasets(source)
    try:
        found = datasets.load_dataset(source.hub, source.name, split=source.split, streaming=True)
        yield from _rows(source, found.with_format("arrow").iter(_STRETCH), 0, start)
    except DataError:
        raise
    except Exception as error:  # a library over a network may raise anything
        raise _no_hub(source, error) from error


def hub_files(source: SourceConfig) -> tuple[list[str], int | None]:
    """The files of a hub source, local or with the commit that they are of, and the bytes of all (None: unknown)."""
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
    """The row groups that hold what follows the first `row` rows, and how many rows stand before them."""
    before = group = 0
    count = file.metadata.num_row_groups
    while group < count and before + file.metadata.row_group(group).num_rows <= row:
        before += file.metadata.row_group(group).num_rows
        group += 1
    return list(range(group, count)), before


def _rows(source: SourceConfig, tables: Iterator[Any], number: int, start: Cursor) -> Iterator[DataRow]:
    """The rows of `tables`, of which the first stands behind `number` others, from `start` on."""
    assert source.path is not None
    for table in tables:
        passed = min(table.num_rows, max(0, start.line - number))
        number += passed
        for found in table.slice(passed).to_pylist() if passed < table.num_rows else ():
            number += 1
            place, cursor = DataPlace(source.path, number), Cursor(start.source, number)
            yield row_of(partial(nested_row, found, source, place, cursor), place, cursor)


def _no_hub(source: SourceConfig, error: Exception) -> DataError:
    remedy = "Check `path`, `name`, `split` and the network."
    return DataError(f"the data set `{source.path}` cannot be read ({_line(error)}). {remedy}")


def _line(error: Exception) -> str:
    return one_line(error)[:200].rstrip(".") or type(error).__name__
