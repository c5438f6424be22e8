"""The processes of a bulk job: one that dies is replaced, and a job that is killed is continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bulk.inline import InlinePool
from counts import count
from generation.test_model import model as random_model

from antiphon.bulk import processes
from antiphon.bulk.job import BulkJob, BulkShard
from antiphon.bulk.journal import BlockRecord, read_journal
from antiphon.bulk.processes import WorkerPool
from antiphon.bulk.run import run_bulk
from antiphon.errors import UsageError, WorkError

KILLS, SHARDS, BLOCK = count("bulk_kills"), 4, 2
ROWS = 7 * KILLS  # of a shard: after each kill there is more to do
SLOW = """
import time
from antiphon.generation.model import Model
whole = Model.generate
def slow(self, texts, **settings):
    time.sleep(0.1 if len(texts) else 0)
    return whole(self, texts, **settings)
Model.generate = slow
"""


def rows_done(folder: Path) -> int:
    return sum(read_journal(path).totals.rows for path in (folder / ".bulk").glob("*.journal"))


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


@pytest.mark.timeout(900)  # starting processes takes minutes on a machine with much other work
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of a job in /proc")
def test_each_row_once_whatever_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("bytes").save(tmp_path / "model")
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "in").mkdir()
    files = [tmp_path / "in" / f"{number}.jsonl" for number in range(SHARDS)]
    for number, file in enumerate(files):
        rows = [{"id": f"{number}-{row}", "source": "abcdefgh"[(row + number) % 7 :]} for row in range(ROWS)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [sys.executable, "-m", "antiphon", "generate", str(model), "--input", str(tmp_path / "in" / "*.jsonl")]
    words += ["--import", "slow", "--block-rows", str(BLOCK), "--output", str(tmp_path / "out"), "--resume"]
    errors = b""

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*words, "--processes", "2"], cwd=tmp_path, stderr=subprocess.PIPE)

    job = start()
    for kill in range(KILLS):
        due = SHARDS * ROWS * (kill + 1) // (KILLS + 2)
        wait_for(lambda due=due: rows_done(tmp_path / "out") >= due)
        assert job.poll() is None, "the job ended before it was killed"
        own = children(job.pid)
        what = ("process", "job", "terminate")[kill % 3]
        os.kill(own[kill % len(own)] if what == "process" else job.pid, signal.SIGTERM if what == "terminate" else 9)
        if what != "process":
            wait_for(lambda own=own: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in own), 20)
            said = job.communicate(timeout=60)[1]
            assert job.returncode == (143 if what == "terminate" else -9)
            assert what == "job" or b"--resume --processes 2` continues" in said
            errors += said
            job = start()
    errors += job.communicate(timeout=400)[1]
    assert job.returncode == 0, errors
    assert b"a process ended with signal 9 (SIGKILL) at `" in errors and b"; another one continues" in errors
    monkeypatch.setattr("antiphon.bulk.run.WorkerPool", InlinePool)
    shards = tuple(BulkShard(kind="table", files=(str(file),), output=file.name) for file in files)
    alone = BulkJob(task="generate", models=(str(model),), shards=shards, block_rows=BLOCK)
    run_bulk(alone, tmp_path / "whole", quiet=True)
    for file in files:
        assert (tmp_path / "out" / file.name).read_bytes() == (tmp_path / "whole" / file.name).read_bytes()
    assert rows_done(tmp_path / "out") == SHARDS * ROWS


# A process that speaks as a worker does, and does with a shard what its folder says, once: a line of `plan`.
WORKER = """
import json, os, pathlib, signal, sys, time
first = json.loads(sys.stdin.readline())
folder = pathlib.Path(first["folder"])
def send(**message):
    sys.stdout.write(json.dumps(message) + chr(10)); sys.stdout.flush()
def step():
    plan = (folder / "plan").read_text().split()
    (folder / "plan").write_text(" ".join(plan[1:]))
    return plan[0] if plan else "done"
if (folder / "no start").exists():
    sys.stderr.write("no such device" + chr(10)); sys.exit(3)
send(warning="be careful"); send(ready=True)
for line in sys.stdin:
    shard = json.loads(line)["shard"]
    what = step()
    if what == "block":
        send(shard=shard, block={"rows_read": 2, "rows": 2, "failed": 0, "tokens": 4, "input_bytes": 9, "seconds": 0.1})
        what = step()
    if what == "die":
        os.kill(os.getpid(), 9)
    if what == "error":
        send(error="row 3 is wrong", code=2)
        time.sleep(100)
    if what == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: time.sleep(1)
    send(done=shard)
"""


class Heard:
    """Remembers what a pool says."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, BlockRecord]] = []
        self.shards: list[int] = []
        self.lines: list[str] = []

    def block(self, shard: int, block: BlockRecord) -> None:
        self.blocks.append((shard, block))

    def finished(self, shard: int) -> None:
        self.shards.append(shard)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def tick(self) -> None:
        pass


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: str, *, count: int = 1) -> Heard:
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / ".bulk").mkdir(exist_ok=True)
    (tmp_path / "plan").write_text(plan)
    monkeypatch.setattr(processes, "WORKER_COMMAND", [sys.executable, str(tmp_path / "worker.py")])
    heard = Heard()
    shards = tuple(BulkShard(kind="lines", files=(name,), output=name) for name in ("a.txt", "b.txt", "c.txt"))
    job = BulkJob(task="generate", models=("m",), shards=shards)
    with WorkerPool(tmp_path, job, count=count, devices=["cpu"], threads=1, listener=heard) as pool:
        pool.run([0, 1, 2])
    return heard


def test_all_shards_on_more_processes_than_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = run(tmp_path, monkeypatch, "", count=5)
    assert sorted(heard.shards) == [0, 1, 2] and heard.lines == ["antiphon: warning: be careful"]
    assert len(list((tmp_path / ".bulk").glob("process-*.log"))) == 3


def test_a_process_that_dies_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = run(tmp_path, monkeypatch, "die block die die done")  # three deaths, but not in a row
    assert heard.shards == [0, 1, 2] and heard.blocks[0][1].rows == 2
    assert sum("ended with signal 9 (SIGKILL) at `a.txt`; another one continues" in line for line in heard.lines) == 3


def test_a_shard_that_kills_each_process_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkError, match=r"3 processes in a row ended at `b\.txt`, the last with signal 9 .*memory"):
        run(tmp_path, monkeypatch, "done die die die")
    (tmp_path / "no start").touch()
    with pytest.raises(WorkError, match="while it loaded the model, the last with exit code 3: no such device"):
        run(tmp_path, monkeypatch, "")


def test_an_error_names_the_shard_and_ends_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_END_SECONDS", 0.3)  # until a process that does not end is killed
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"`a\.txt`: row 3 is wrong|`b\.txt`: row 3 is wrong"):
        run(tmp_path, monkeypatch, "error hang", count=2)
    assert time.monotonic() - began < 20
