"""The output of a shard: a partial file that is appended to block by block, and renamed when it is complete.

output = TextOutput(partial, position=journal.position, first_line="id,text,answer\n", format=lines)
position = output.add(rows, results)        # durable when this returns
output.complete(); os.replace(partial, final)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, Protocol

from antiphon.bulk.answering import RowFailure
from antiphon.bulk.job import BulkJob, BulkShard
from antiphon.bulk.parquet import ParquetPieces, added_columns, empty_schema, parquet_names, pieces_of, row_table
from antiphon.bulk.rows import BulkRow
from antiphon.bulk.tables import DETAILS, AnsweredTable
from antiphon.data.whole_rows import InputTable
from antiphon.errors import UsageError, argument

Result = dict[str, Any] | RowFailure
NO_ANSWER: dict[str, Any] = {"text": None, "score": None}


class ShardOutput(Protocol):
    """An output. `check` raises DataError for a row that the format cannot represent. `add` writes a block durably and
    returns the position after it: bytes of a text, the number of blocks of a parquet file. `complete` makes the partial
    file whole, durably; `close` releases it."""

    def check(self, row: BulkRow) -> None: ...
    def add(self, rows: Sequence[BulkRow], results: Sequence[Result]) -> int: ...
    def complete(self) -> None: ...
    def close(self) -> None: ...


def open_output(job: BulkJob, shard: BulkShard, partial: Path, *, position: int, n_best: int) -> ShardOutput:
    """The output of a shard, whose first `position` is durable already; `n_best` lines for each answer without columns.

    UsageError if its columns cannot be added.
    """
    if shard.kind != "table":
        return TextOutput(partial, "", _form(job, n_best), position=position)
    kind = PurePath(shard.output).suffix.lower()
    if kind == ".parquet":
        return ParquetOutput(job, shard, partial, position=position)
    table = InputTable(shard.files[0], "source" if job.source_field is None else job.source_field)
    answered = AnsweredTable(table=table, kind=kind, target=job.added_field, names=table.names(), details=job.details)
    return TableOutput(partial, answered, position=position, score=job.task == "score")


class TextOutput:
    """An output of lines. `form`: the lines of a row and its result, with line feeds."""

    def __init__(
        self, partial: Path, first_line: str, form: Callable[[BulkRow, Result], str], *, position: int
    ) -> None:
        partial.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(partial, "r+b" if partial.exists() else "w+b")  # noqa: SIM115  (closed by `close`)
        self._stream.truncate(position)
        self._stream.seek(position)
        self._form, self._first = form, first_line if position == 0 else ""

    def check(self, row: BulkRow) -> None:
        pass

    def add(self, rows: Sequence[BulkRow], results: Sequence[Result]) -> int:
        text = self._first + "".join(self._form(row, result) for row, result in zip(rows, results, strict=True))
        self._first = ""
        self._stream.write(text.encode("utf-8", "replace"))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self._stream.tell()

    def complete(self) -> None:
        self.add([], [])  # the header of a table without rows
        self._stream.close()

    def close(self) -> None:
        self._stream.close()


class TableOutput(TextOutput):
    """The rows of a .csv, .tsv or .jsonl file with their answers, or scores."""

    def __init__(self, partial: Path, answered: AnsweredTable, *, position: int, score: bool) -> None:
        self._answered, self._score = answered, score
        super().__init__(partial, answered.first_line(), self._line, position=position)

    def check(self, row: BulkRow) -> None:
        assert row.whole is not None
        self._answered.check(row.whole, row.place)

    def _line(self, row: BulkRow, result: Result) -> str:
        assert row.whole is not None
        answer = NO_ANSWER if isinstance(result, RowFailure) else result
        value = answer["score"] if self._score else answer["text"]
        if self._answered.kind != ".jsonl":
            value = "" if value is None else f"{value:.6f}" if self._score else value
        details = {} if isinstance(result, RowFailure) or self._score else answer
        return self._answered.line(row.whole, {**details, "text": value})


class ParquetOutput:
    """The rows of a .parquet file with their answers, or scores, as further columns."""

    def __init__(self, job: BulkJob, shard: BulkShard, partial: Path, *, position: int) -> None:
        self._job, self._file, self._partial = job, shard.files[0], partial
        self._pieces = ParquetPieces(pieces_of(partial), count=position)
        for name in (job.added_field, *(DETAILS if job.details else ())):
            if name in parquet_names(self._file):
                raise UsageError(
                    f"`{self._file}` must not have the column `{name}` yet, which is added. Choose another "
                    f"{argument('added_field', flag='--target-field')}."
                )

    def check(self, row: BulkRow) -> None:
        pass

    def add(self, rows: Sequence[BulkRow], results: Sequence[Result]) -> int:
        table = row_table([row.arrow for row in rows if row.arrow is not None])
        return self._pieces.add(with_results(table, self._job, results))

    def complete(self) -> None:
        empty = None if self._pieces.count else empty_schema(self._file, _columns(self._job, []))
        self._pieces.join(self._partial, empty)

    def close(self) -> None:
        pass


def with_results(table: Any, job: BulkJob, results: Sequence[Result]) -> Any:
    """An Arrow table of rows with the columns of their results; a row that failed has nulls there."""
    for name, column in _columns(job, results).items():
        table = table.append_column(name, column)
    return table


def _columns(job: BulkJob, results: Sequence[Result]) -> dict[str, Any]:
    answers = [{} if isinstance(result, RowFailure) else dict(result) for result in results]
    kind = "score" if job.task == "score" else "text"
    for answer in answers:
        answer[job.added_field] = answer.get(kind)
    form = "number" if kind == "score" else "text"
    return added_columns(answers, job.added_field, form, details=job.details and kind == "text")


def _form(job: BulkJob, n_best: int) -> Callable[[BulkRow, Result], str]:
    """The lines of a row without columns: its answers, its score, or its case."""

    def form(row: BulkRow, result: Result) -> str:
        answer = NO_ANSWER if isinstance(result, RowFailure) else result
        if job.task == "evaluate":
            case = {"source": row.source, "references": row.targets, "answer": answer["text"], "place": str(row.place)}
            return _json_line(case)
        if job.details:
            return _json_line(answer if job.task == "generate" else {"score": answer["score"]})
        if job.task == "score":
            return "\n" if answer["score"] is None else f"{answer['score']:.6f}\n"
        found = [] if isinstance(result, RowFailure) else [result, *result["alternatives"]]
        texts = [each["text"].replace("\n", " ") for each in found]
        return "".join(f"{text}\n" for text in [*texts, *[""] * n_best][:n_best])

    return form


def _json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
