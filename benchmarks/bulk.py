"""Bulk answers that are killed again and again, and their speed, against the model alone in one process.

    antiphon demo --steps 60 --output runs/demo
    python benchmarks/bulk.py runs/demo --rows 200000 --shards 50 --kills 10 --processes 2 --ray

Prints the rate of the engine alone, of an undisturbed job and of one under Ray Data, in tokens per second of processor
time, so that other work on the machine counts little, and whether each row of the killed jobs is there once and equal
to the undisturbed one. Kills come after equal shares of the rows; every other one is of the job itself, which is then
continued, the others are of one of its processes. Needs Linux (/proc); docs/bulk.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from antiphon.bulk.journal import read_journal
from antiphon.generation.load import load


def main() -> None:
    """Measure and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--beam-size", type=int, default=1)
    parser.add_argument("--engine-rows", type=int, default=20_000)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = make_inputs(folder / "in", rows=options.rows, shards=options.shards)
        say(f"{options.rows:,} rows in {options.shards} shards, beam size {options.beam_size}, load {os.getloadavg()}")
        rates = [engine_rate(options, texts[: options.engine_rows])]
        start_up = start_up_seconds(options, folder)
        say(f"start-up of {options.processes} processes and the job: {start_up:.0f} s of processor time")
        began, wall = cpu_seconds(), time.monotonic()
        subprocess.run(command(options, folder, "undisturbed"), check=True)
        tokens = sum(read_journal(path).totals.tokens for path in (folder / "undisturbed" / ".bulk").glob("*.journal"))
        spent, wall = cpu_seconds() - began, time.monotonic() - wall
        rates += [engine_rate(options, texts[: options.engine_rows]) for _ in range(2)]
        alone = statistics.median(rates)
        shown = ", ".join(f"{rate:,.0f}" for rate in rates)
        say(
            f"engine alone, 1 thread, before and after the job: {shown} tokens/s of processor time; median {alone:,.0f}"
        )
        report("undisturbed job", tokens, spent, alone, wall)
        report("the same without its start-up", tokens, spent - start_up, alone, wall)
        expected = read_outputs(folder / "undisturbed")
        check(expected, texts, None, "undisturbed job")
        if options.kills:
            killed_job(options, folder)
            check(read_outputs(folder / "killed"), texts, expected, f"job killed {options.kills} times")
        if options.ray:
            ray_job(options, folder, texts, expected, tokens, alone)


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


def make_inputs(folder: Path, *, rows: int, shards: int) -> list[str]:
    """Write the rows and return their texts, in order."""
    folder.mkdir()
    draw = random.Random(0)
    texts = [f"in {draw.randint(1, 99)} hours and {draw.randint(1, 59)} minutes" for _ in range(rows)]
    each = -(-rows // shards)
    for number in range(shards):
        part = range(number * each, min(rows, (number + 1) * each))
        lines = [json.dumps({"id": row, "source": texts[row]}) + "\n" for row in part]
        (folder / f"{number:03}.jsonl").write_text("".join(lines), encoding="utf-8")
    return texts


def engine_rate(options: argparse.Namespace, texts: list[str]) -> float:
    """Target tokens of `Model.generate` in a second of processor time."""
    model = load(options.model, device="cpu")
    model.generate(texts[:64], beam_size=options.beam_size)  # what is made once is not measured
    began, tokens = time.process_time(), 0
    for first in range(0, len(texts), 4096):
        answers = model.generate(texts[first : first + 4096], first_row=first, beam_size=options.beam_size)
        tokens += sum(len(answer.tokens) + answer.finished for answer in answers)
    return tokens / (time.process_time() - began)


def command(options: argparse.Namespace, folder: Path, output: str, *, inputs: str = "in") -> list[str]:
    """The command of a job."""
    words = [sys.executable, "-m", "antiphon", "generate", options.model, "--input", str(folder / inputs / "*.jsonl")]
    words += ["--output", str(folder / output), "--processes", str(options.processes), "--threads", "1", "--resume"]
    return [*words, "--beam-size", str(options.beam_size)]


def start_up_seconds(options: argparse.Namespace, folder: Path) -> float:
    """The processor time of a job that has next to nothing to do: a row for each process."""
    (folder / "small").mkdir()
    for number in range(options.processes):
        (folder / "small" / f"{number}.jsonl").write_text('{"id": 0, "source": "in 3 hours"}\n')
    began = cpu_seconds()
    subprocess.run(command(options, folder, "start-up", inputs="small"), check=True)
    return cpu_seconds() - began


def killed_job(options: argparse.Namespace, folder: Path) -> None:
    """Run a job, and kill it or one of its processes with SIGKILL after equal shares of the rows."""
    draw, words = random.Random(1), command(options, folder, "killed")
    job = subprocess.Popen(words)
    for kill in range(options.kills):
        due = options.rows * (kill + 1) // (options.kills + 1)
        while job.poll() is None and rows_done(folder / "killed") < due:
            time.sleep(0.2)
        assert job.poll() is None, "the job ended before it was killed"
        victim = job.pid if kill % 2 else draw.choice(children(job.pid))
        os.kill(victim, signal.SIGKILL)
        say(f"killed {'the job' if victim == job.pid else 'a process'} after {rows_done(folder / 'killed'):,} rows")
        if victim == job.pid:
            job.wait()
            job = subprocess.Popen(words)
    assert job.wait() == 0


def rows_done(folder: Path) -> int:
    """The rows that are durable."""
    return sum(read_journal(path).totals.rows for path in (folder / ".bulk").glob("*.journal"))


def children(pid: int) -> list[int]:
    """The processes of a job. Waits until there is one."""
    while True:
        found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        if found:
            return found
        time.sleep(0.1)


def read_outputs(folder: Path) -> dict[int, str]:
    """The answers by the number of the row. AssertionError if a row is there twice."""
    found: dict[int, str] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            assert row["id"] not in found, f"row {row['id']} is there twice"
            found[row["id"]] = row["answer"]
    return found


def check(found: dict[int, str], texts: list[str], expected: dict[int, str] | None, what: str) -> None:
    """AssertionError unless each row is there, with the expected answer."""
    assert sorted(found) == list(range(len(texts))), f"{what}: rows are missing"
    other = 0 if expected is None else sum(found[row] != expected[row] for row in found)
    assert not other, f"{what}: {other} answers differ"
    say(f"{what}: each of {len(found):,} rows once{'' if expected is None else ', equal to the undisturbed output'}")


def report(what: str, tokens: int, spent: float, alone: float, wall: float) -> None:
    """Print a rate, and its share of the engine's."""
    rate = tokens / spent
    say(f"{what}: {tokens:,} tokens in {spent:,.0f} s of processor time ({wall:,.0f} s passed): "
        f"{rate:,.0f} tokens/s, {rate / alone:.1%} of the engine alone")  # fmt: skip


def cpu_seconds() -> float:
    """The processor time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ray_job(
    options: argparse.Namespace,
    folder: Path,
    texts: list[str],
    expected: dict[int, str],
    tokens: int,
    alone: float,
) -> None:
    """The same rows as a Ray Data job, one of whose actors is killed halfway."""
    import ray

    import antiphon.ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.read_json(str(folder / "in")).repartition(options.shards).materialize()
    answered: Any = antiphon.ray.generate(
        dataset, options.model, beam_size=options.beam_size, concurrency=options.processes, batch_size=4096
    )
    found: dict[int, str] = {}
    killed, wall, spent = False, time.monotonic(), 0.0
    seen: dict[int, float] = {}
    for batch in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in batch.to_pylist():
            assert row["id"] not in found, f"row {row['id']} is there twice"
            found[row["id"]] = row["answer"]
        seen |= {pid: actor_seconds(pid) for pid in actors()}
        if not killed and len(found) >= len(texts) // 2:
            os.kill(actors()[0], signal.SIGKILL)
            killed = True
            say(f"killed an actor after {len(found):,} rows")
    assert killed
    spent = sum(seen.values())
    report("Ray Data job, with what was lost by the kill", tokens, spent, alone, time.monotonic() - wall)
    check(found, texts, expected, "Ray Data job with an actor killed")
    ray.shutdown()


def actors() -> list[int]:
    """The process numbers of living actors that answer."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"MapWorker(MapBatches(RayAnswerer))" in words:
            found.append(int(path.parent.name))
    return found


def actor_seconds(pid: int) -> float:
    """The processor time of a process so far; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
