"""A shard that is interrupted anywhere and continued: each row once, and the output of an undisturbed one."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from generation.test_model import model as random_model

from antiphon.bulk import journal as journals
from antiphon.bulk.answering import Answerer, RowFailure, isolated
from antiphon.bulk.job import BulkJob, BulkShard
from antiphon.bulk.journal import BlockRecord, ShardJournal, open_journal, read_journal
from antiphon.bulk.shard import ShardPaths, run_shard, shard_progress
from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError, DataError, WorkError
from antiphon.generation.answers import Generation

ROWS = 7
JOB = BulkJob(task="generate", models=("unused",), shards=(), block_rows=2, source_field="text", on_failure="record")
LONG = "a b c d " * 40


class Killed(BaseException):
    """The end of a process, where a test puts it."""


class Echo:
    """A model that answers with the text itself, and refuses a long one as a real one does. It costs nothing: the tests
    that a real model answers right are in tests/cli/test_many.py."""

    generation = GenerationConfig()

    def generate(self, texts: list[str], *, first_row: int = 0, **settings: object) -> list[Generation]:
        for row, text in enumerate(texts, first_row):
            if len(text) > 100:
                raise DataError(f"input {row + 1} is too long.")
        return [Generation(f"{text}?", [*text], -float(len(text)), 0.5, True) for text in texts]


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    return Answerer(JOB, Echo())  # type: ignore[arg-type]


def write_input(folder: Path, kind: str) -> BulkShard:
    """A file of rows, of which one has no text and one is too long."""
    rows: list[dict[str, Any]] = [{"id": row, "text": "abcdefg"[row:]} for row in range(ROWS)]
    rows[2] = {"id": 2, "text": None}
    rows[5]["text"] = LONG
    path = folder / f"in.{kind}"
    if kind == "parquet":
        pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return BulkShard(kind="table", files=(str(path),), output=f"out.{kind.removesuffix('.gz')}")


def contents(folder: Path) -> dict[str, bytes]:
    """The outputs and the failures, by name."""
    found = [path for path in folder.rglob("*") if path.is_file() and ".bulk" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def ends(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], int]:
    """Let the process end at the call `at` of those that matter: before it (even) or after it. Returns their number."""
    calls = [0]

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            before, after = calls[0], calls[0] + 1
            calls[0] += 2
            if before == at:
                raise Killed
            result = call(*arguments)
            if after == at:
                raise Killed
            return result

        return run

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, wrapped(getattr(os, name)))
    monkeypatch.setattr(ShardJournal, "_write", wrapped(ShardJournal._write))
    return lambda: calls[0]


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet"])
def test_a_process_may_end_at_any_call(
    answerer: Answerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shard = write_input(tmp_path, kind)
    run_shard(tmp_path / "whole", JOB, shard, answerer, report=lambda block: None)
    whole = contents(tmp_path / "whole")
    assert len(whole) == 2 and json.loads([*whole.values()][-1].splitlines()[0])
    at, answered = 0, 0
    while True:
        folder = tmp_path / str(at)
        blocks: list[BlockRecord] = []
        with monkeypatch.context() as patch:
            calls = ends(patch, at)
            try:
                run_shard(folder, JOB, shard, answerer, report=blocks.append)
            except Killed:
                pass
            if at >= calls():
                break  # it was not ended any more
        before = shard_progress(folder, shard)[0].rows_read
        run_shard(folder, JOB, shard, answerer, report=blocks.append)
        answered += sum(block.rows_read for block in blocks)
        assert contents(folder) == whole, f"ended at call {at}"
        sums, done = shard_progress(folder, shard)
        assert done and before in (0, 2, 5, 7) and (sums.rows_read, sums.rows, sums.failed) == (ROWS, ROWS - 1, 2)
        run_shard(folder, JOB, shard, answerer, report=blocks.append)  # nothing is left to do
        at += 1
    assert at > 20 and answered < at * 1.4 * ROWS, "hardly a row is answered again"


def test_what_the_journal_does_not_have_is_answered_again(answerer: Answerer, tmp_path: Path) -> None:
    """A journal that is cut anywhere, with more in the output than it says."""
    shard = write_input(tmp_path, "jsonl.gz")
    run_shard(tmp_path / "whole", JOB, shard, answerer, report=lambda block: None)
    whole, paths = contents(tmp_path / "whole"), ShardPaths.of(tmp_path / "whole", shard)
    journal = paths.journal.read_bytes()
    assert journal.count(b"\n") == 4
    for cut in [*range(0, len(journal) - 1, 19), len(journal) - 1]:
        folder = tmp_path / str(cut)
        other = ShardPaths.of(folder, shard)
        other.journal.parent.mkdir(parents=True)
        other.journal.write_bytes(journal[:cut])
        other.partial.write_bytes(paths.output.read_bytes() + b"half a row")
        run_shard(folder, JOB, shard, answerer, report=lambda block: None)
        assert contents(folder) == whole, f"cut at {cut}"


def test_a_deleted_output_is_made_again(answerer: Answerer, tmp_path: Path) -> None:
    shard = write_input(tmp_path, "jsonl.gz")
    run_shard(tmp_path, JOB, shard, answerer, report=lambda block: None)
    output = tmp_path / shard.output
    whole = output.read_bytes()
    output.unlink()
    assert shard_progress(tmp_path, shard) == (BlockRecord(), False)
    run_shard(tmp_path, JOB, shard, answerer, report=lambda block: None)
    assert output.read_bytes() == whole
    output.write_bytes(whole + b"\n")
    with pytest.raises(DataError, match="must be as it was when it was completed"):
        run_shard(tmp_path, JOB, shard, answerer, report=lambda block: None)


def test_a_full_disk_is_named_and_what_is_there_stays(
    answerer: Answerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write_input(tmp_path, "jsonl.gz")

    def full(self: ShardJournal, record: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ShardJournal, "_write", full)
        with pytest.raises(WorkError, match="No space left on device"):
            run_shard(tmp_path, JOB, shard, answerer, report=lambda block: None)
    run_shard(tmp_path, JOB, shard, answerer, report=lambda block: None)
    assert shard_progress(tmp_path, shard)[1]


def test_two_processes_never_write_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.journal"
    order: list[str] = []

    def second() -> None:
        with open_journal(path) as journal:
            order.append(f"second, after {journal.totals.rows}")

    with open_journal(path) as journal:
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        journal.add(BlockRecord(rows=3), position=1, failures=[])
        order.append("first")
    thread.join()
    assert order == ["first", "second, after 3"]
    monkeypatch.setattr(journals, "LOCK_SECONDS", 0.1)
    with open_journal(path), pytest.raises(WorkError, match="another process still writes"), open_journal(path):
        pass
    assert read_journal(path).totals == BlockRecord(rows=3) and read_journal(tmp_path / "none").totals == BlockRecord()


def test_one_bad_row_costs_its_neighbours_nothing() -> None:
    calls: list[tuple[int, int]] = []

    def compute(begin: int, end: int) -> list[int]:
        calls.append((begin, end))
        if begin <= 37 < end:
            raise DataError("row 37")
        return [*range(begin, end)]

    found = isolated(compute, 100)
    assert found == [RowFailure("row 37") if row == 37 else row for row in range(100)] and len(calls) < 16
    assert isolated(compute, 0) == []

    def broken(begin: int, end: int) -> list[int]:
        raise KeyError("not about a row")

    with pytest.raises(KeyError):
        isolated(broken, 4)


def memory(rows: int) -> Iterator[None]:
    if rows > 3:
        raise MemoryError
    yield


def test_exhausted_memory_halves_the_block() -> None:
    def compute(begin: int, end: int) -> list[int]:
        next(memory(end - begin), None)
        return [*range(begin, end)]

    assert isolated(compute, 50) == [*range(50)]


def test_wrong_settings_are_no_failures_of_rows() -> None:
    with pytest.raises(ConfigError, match="beam_size"):
        Answerer(replace(JOB, search={"beam_size": 0}), random_model("bytes"))
