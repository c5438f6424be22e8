"""Parquet files of a bulk job: rows in, and rows with their answers out, with the types of all columns."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from antiphon.data.lines import opened
from antiphon.data.zstd import needs
from antiphon.durable import sync_file
from antiphon.errors import DataError, one_line

_BATCH_ROWS = 1024


def parquet_names(path: str) -> list[str]:
    """The columns of the file."""
    with opened(path) as stream, _reading(path) as parquet:
        return list(parquet.read_schema(stream).names)


def parquet_batches(path: str) -> Iterator[Any]:
    """The rows as Arrow record batches, in order."""
    with opened(path) as stream, _reading(path) as parquet:
        yield from parquet.ParquetFile(stream).iter_batches(batch_size=_BATCH_ROWS)


class _reading:
    """A context with the module `pyarrow.parquet`; its errors about the file become DataError."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> Any:
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise needs("pyarrow", f"reading `{self.path}`") from error
        return parquet

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and _is_of_file(error):
            reason = one_line(error)[:200].rstrip(".") or type(error).__name__
            raise DataError(
                f"the data file `{self.path}` must be whole parquet data, but is not ({reason}). Fetch it again."
            ) from error


def _is_of_file(error: Exception) -> bool:
    import pyarrow as pa

    return isinstance(error, OSError | ValueError | pa.ArrowException) and not isinstance(error, DataError)


def row_table(places: Sequence[tuple[Any, int]]) -> Any:
    """The Arrow table of rows that are given as (record batch, number of the row in it), in their order."""
    import pyarrow as pa

    parts: list[tuple[Any, list[int]]] = []
    for batch, number in places:
        if not parts or parts[-1][0] is not batch:
            parts.append((batch, []))
        parts[-1][1].append(number)
    return pa.Table.from_batches([batch.take(pa.array(numbers)) for batch, numbers in parts])


def added_columns(answers: Sequence[dict[str, Any]], name: str, kind: str, *, details: bool) -> dict[str, Any]:
    """The columns that are added to a block, as Arrow arrays with fixed types: `name`, of texts or numbers (`kind`),
    and with `details` the other keys of answers."""
    import pyarrow as pa

    found = {name: pa.array([each.get(name) for each in answers], pa.string() if kind == "text" else pa.float64())}
    if details:
        one = {
            "tokens": pa.list_(pa.string()),
            "score": pa.float64(),
            "confidence": pa.float64(),
            "finished": pa.bool_(),
            "probabilities": pa.map_(pa.string(), pa.float64()),
        }
        inner = pa.struct([("text", pa.string()), *one.items(), ("rerank_score", pa.float64())])
        for key, form in {**one, "alternatives": pa.list_(inner)}.items():
            found[key] = pa.array([_mapped(each.get(key), key) for each in answers], form)
    return found


def _mapped(value: Any, key: str) -> Any:
    """A mapping as Arrow's pairs."""
    if key == "alternatives" and value:
        return [{**each, "probabilities": _mapped(each.get("probabilities"), "probabilities")} for each in value]
    return list(value.items()) if key == "probabilities" and value is not None else value


class ParquetPieces:
    """The partial output of a shard: a file for each block in `folder`, joined when the shard is complete."""

    def __init__(self, folder: Path, *, count: int) -> None:
        self.folder, self.count = folder, count
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, table: Any) -> int:
        """Write a block durably; returns the number of blocks."""
        from pyarrow import parquet

        path = self._path(self.count)
        parquet.write_table(table, path)
        sync_file(path)
        self.count += 1
        return self.count

    def join(self, path: Path, empty: Any) -> None:
        """Write all blocks to the file `path`, each as a row group; `empty` is the schema if there is none."""
        from pyarrow import parquet

        schema = parquet.read_schema(self._path(0)) if self.count else empty
        with parquet.ParquetWriter(path, schema) as writer:
            for number in range(self.count):
                writer.write_table(parquet.read_table(self._path(number)).cast(schema))
        sync_file(path)

    def remove(self) -> None:
        """Delete the blocks."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.parquet"


def empty_schema(path: str, added: dict[str, Any]) -> Any:
    """The schema of the output of a file without rows."""
    with opened(path) as stream, _reading(path) as parquet:
        schema = parquet.read_schema(stream)
    for name, array in added.items():
        schema = schema.append(_field(name, array))
    return schema


def _field(name: str, array: Any) -> Any:
    import pyarrow as pa

    return pa.field(name, array.type)


def pieces_of(partial: Path) -> Path:
    """The folder of the blocks of a partial output."""
    return partial.with_name(f"{partial.name}.pieces")
