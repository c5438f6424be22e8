"""The progress of a bulk job: its counts, its speed, and the time that is left."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.bulk import processes
from antiphon.bulk import progress as progresses
from antiphon.bulk.job import BulkJob, BulkShard
from antiphon.bulk.journal import BlockRecord
from antiphon.bulk.progress import BulkProgress, ProgressDisplay
from antiphon.bulk.shards import files_of, is_many, output_names
from antiphon.errors import UsageError


def shards(*names: str) -> list[BulkShard]:
    return [BulkShard(kind="lines", files=(name,), output=name) for name in names]


def test_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    done = [(BlockRecord(rows_read=10, rows=10, input_bytes=1000), True), *[(BlockRecord(), False)] * 3]
    progress = BulkProgress(shards("a", "b", "c", "d.gz"), [1000, 1000, 1000, 500], done)
    assert progress.seconds_left() is None and progress.line() == "1/4 shards  10 rows  0 rows/s"
    now[0] += 10
    progress.add(1, BlockRecord(rows_read=5, rows=4, failed=1, input_bytes=500))
    # 500 bytes in 10 s; 500 + 1000 are left, and 500 compressed ones, which are taken as 2000.
    assert progress.seconds_left() == pytest.approx(70) and progress.rows_per_second == pytest.approx(0.5)
    assert progress.line() == "1/4 shards  15 rows  0 rows/s  1:10 left  1 failed"
    progress.add(1, BlockRecord(rows_read=5, rows=5, input_bytes=500))
    progress.finish(1)
    progress.add(3, BlockRecord(rows_read=20, rows=20, input_bytes=5000))
    progress.finish(3)  # it had ten times its bytes
    assert progress.seconds_left() == pytest.approx(1000 * 10 / 6000)


def test_elsewhere_than_in_a_terminal_a_line_is_said_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    display = ProgressDisplay(BulkProgress(shards("a"), [10], [(BlockRecord(), False)]), said.append, quiet=False)
    display.tick()
    assert said == []
    monkeypatch.setattr(progresses, "SAY_SECONDS", 0.0)
    display.tick()
    display.say("a message")
    display.close()
    assert said == ["antiphon: 0/1 shard  0 rows  0 rows/s", "a message"]


def test_files_and_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.txt", "a.txt", "odd[1].txt", "1.csv.gz"):
        Path(name).write_text("x")
    assert files_of(["?.txt", "odd[1].txt"], name="x") == ["a.txt", "b.txt", "odd[1].txt"]
    assert is_many("?.txt") and is_many("@list") and not is_many("odd[1].txt") and not is_many("a.txt")
    assert output_names(["a.txt", "1.csv.gz"], suffixes={"1.csv.gz": ".jsonl"}) == {
        "a.txt": "a.txt", "1.csv.gz": "1.jsonl",
    }  # fmt: skip
    assert output_names(["s3://b/x/1.txt", "s3://b/y/1.txt"]) == {
        "s3://b/x/1.txt": "x/1.txt",
        "s3://b/y/1.txt": "y/1.txt",
    }
    with pytest.raises(UsageError, match=r"both have `a\.txt`"):
        output_names(["a.txt", "a.txt.gz"])


def test_processes_are_dealt_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from antiphon.bulk.run import devices_of

    job = BulkJob(task="generate", models=("m",), shards=())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices_of(job) == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices_of(replace(job, device="cuda:1")) == ["cuda:1"] and devices_of(replace(job, device="cpu")) == ["cpu"]
    assert devices_of(replace(job, quantize="int8")) == ["cpu"]
    opened: list[str] = []

    class Worker:
        def __init__(self, folder: Path, job: BulkJob, *, number: int, device: str, threads: int) -> None:
            opened.append(device)
            raise KeyboardInterrupt

    pool = processes.WorkerPool(
        Path(), job, count=5, devices=["a", "b"], threads=1, listener=None  # type: ignore[arg-type]
    )  # fmt: skip
    monkeypatch.setattr(processes, "BulkWorker", Worker)
    for number in range(3):
        with pytest.raises(KeyboardInterrupt):
            pool._start(number)
    assert opened == ["a", "b", "a"]
