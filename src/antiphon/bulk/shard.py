"""One shard from its input to its complete output, from wherever its journal says that it is.

    run_shard(folder, job, shard, answerer, report=print)

Output, journal and lists of failures are below `folder`; what is not complete is in `folder/.bulk`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from antiphon.bulk.answering import Answerer, RowFailure, tokens_of
from antiphon.bulk.job import MOST_BLOCK_BYTES, BulkJob, BulkShard
from antiphon.bulk.journal import BlockRecord, ShardJournal, open_journal, read_journal
from antiphon.bulk.outputs import ShardOutput, open_output
from antiphon.bulk.parquet import pieces_of
from antiphon.bulk.rows import BulkRow, rows_of
from antiphon.durable import make_folder, replace_file, sync_folder
from antiphon.errors import DataError, DiskError

STATE_FOLDER, FAILURES_FOLDER = ".bulk", "failures"


@dataclass(frozen=True)
class ShardPaths:
    """The files of a shard: its output, and until that is complete the partial output; its journal and failures."""

    output: Path
    partial: Path
    journal: Path
    failures: Path

    @property
    def pieces(self) -> Path:
        """The folder of the blocks of a parquet file."""
        return pieces_of(self.partial)

    @classmethod
    def of(cls, folder: Path, shard: BulkShard) -> ShardPaths:
        """The paths of `shard` in the output folder."""
        state = folder / STATE_FOLDER
        return cls(
            folder / shard.output,
            state / f"{shard.output}.partial",
            state / f"{shard.output}.journal",
            folder / FAILURES_FOLDER / f"{shard.output}.jsonl",
        )

    def is_done(self, journal: ShardJournal) -> bool:
        """Whether the output is complete. DataError if it is no longer as it was when it was completed."""
        if journal.size is None or not self.output.exists():
            return False
        have = self.output.stat().st_size
        if have != journal.size:
            raise DataError(
                f"`{self.output}` must be as it was when it was completed ({journal.size:,} bytes), but has {have:,}. "
                "Delete it: its rows are then answered again."
            )
        return True


@dataclass
class RowBlock:
    """Rows that are computed together. `read` counts those that cannot be read, too, whose errors are `faults`."""

    rows: list[BulkRow] = field(default_factory=list)
    read: int = 0
    characters: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)


def shard_progress(folder: Path, shard: BulkShard) -> tuple[BlockRecord, bool]:
    """The sums of what is durable of a shard, and whether it is complete."""
    paths = ShardPaths.of(folder, shard)
    journal = read_journal(paths.journal)
    if paths.is_done(journal):
        return journal.totals, True
    lost = journal.size is not None and not paths.partial.exists()
    return BlockRecord() if lost else journal.totals, False


def run_shard(
    folder: Path, job: BulkJob, shard: BulkShard, answerer: Answerer, *, report: Callable[[BlockRecord], None]
) -> None:
    """Compute what is missing of a shard. `report` is called with each block after it is durable.

    Raises DataError for a row or a file that cannot be read, and what the model raises for a row, unless failures are
    recorded; the blocks before it stay. DiskError if the output cannot be written.
    """
    paths = ShardPaths.of(folder, shard)
    try:
        with open_journal(paths.journal) as journal:
            if paths.is_done(journal):
                shutil.rmtree(paths.pieces, ignore_errors=True)  # of a process that ended after it renamed the output
                return
            if journal.size is not None and not paths.partial.exists():
                journal.restart()  # the output was deleted
            if journal.size is None:
                _compute(job, shard, answerer, paths, journal, report)
            _publish(paths, journal)
    except OSError as error:
        if error.filename is not None and str(error.filename) in shard.files:
            raise
        raise DiskError(f"`{error.filename or paths.partial}` cannot be written ({error.strerror}).") from error


def _compute(
    job: BulkJob,
    shard: BulkShard,
    answerer: Answerer,
    paths: ShardPaths,
    journal: ShardJournal,
    report: Callable[[BlockRecord], None],
) -> None:
    """Answer the rows that the journal does not have, and complete the partial output."""
    if not paths.partial.exists() and not paths.pieces.exists():
        journal.restart()
    output = open_output(job, shard, paths.partial, position=journal.position, n_best=answerer.n_best)
    try:
        rows = islice(rows_of(job, shard, answerer.model), journal.totals.rows_read, None)
        keeps = job.on_failure == "record" and job.task != "evaluate" and shard.kind in ("lines", "aligned")
        for block, error in _blocks(rows, job, output, keeps=keeps):
            if block.read:
                _add(block, answerer, output, journal, report)
            if error is not None:
                raise error
        output.complete()
    finally:
        output.close()
    journal.finish(paths.partial.stat().st_size)


def _add(
    block: RowBlock,
    answerer: Answerer,
    output: ShardOutput,
    journal: ShardJournal,
    report: Callable[[BlockRecord], None],
) -> None:
    began = time.perf_counter()
    results = answerer(block.rows, first_row=journal.totals.rows)
    failures = [*block.faults]
    for row, result in zip(block.rows, results, strict=True):
        if isinstance(result, RowFailure):
            failures.append({"place": str(row.place), "error": result.message})
    position = output.add(block.rows, results) if block.rows else journal.position
    record = BlockRecord(
        rows_read=block.read,
        rows=len(block.rows),
        failed=len(failures),
        tokens=sum(map(tokens_of, results)),
        input_bytes=block.characters,
        seconds=round(time.perf_counter() - began, 3),
    )
    journal.add(record, position=position, failures=failures)
    report(record)


def _blocks(
    rows: Iterator[BulkRow], job: BulkJob, output: ShardOutput, *, keeps: bool
) -> Iterator[tuple[RowBlock, DataError | None]]:
    """The rows in blocks. An error that ends the job comes with the rows before it, which are still answered.

    `keeps`: a row that cannot be read stays, without an answer, so that the output has a line for each of the input.
    """
    block = RowBlock()
    try:
        for row in rows:
            try:
                if row.fault is not None:
                    raise row.fault
                output.check(row)
                block.rows.append(row)
            except DataError as error:
                if job.on_failure == "error":
                    raise
                if keeps:
                    block.rows.append(row)
                else:
                    block.faults.append({"place": str(row.place), "error": str(error)})
            block.read += 1
            block.characters += row.characters
            if len(block.rows) >= job.block_rows or block.characters >= MOST_BLOCK_BYTES:
                yield block, None
                block = RowBlock()
    except DataError as error:
        yield block, error
        return
    yield block, None


def _publish(paths: ShardPaths, journal: ShardJournal) -> None:
    """Put a complete partial output in its place, after the list of its failures."""
    if journal.failures:
        make_folder(paths.failures.parent)
        lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in journal.failures)
        replace_file(paths.failures, lines.encode())
    make_folder(paths.output.parent)
    os.replace(paths.partial, paths.output)
    sync_folder(paths.output.parent)
    shutil.rmtree(paths.pieces, ignore_errors=True)
