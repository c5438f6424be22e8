"""Tokens a second of training on several processes, against one process with as many threads.

    python benchmarks/processes.py --preset small                       # 2 processes x 1 thread, 1 process x 2 threads
    python benchmarks/processes.py --processes 4 --parallel fsdp

The runs take turns, so that a machine that is busy slows both alike; the median of the rounds counts. Random rows; the
loss of a step is that of the other run, but for rounding.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WORDS = 4000


def rows(count: int) -> list[tuple[str, str]]:
    """Random rows of 5 to 40 words."""
    chance = random.Random("processes")
    made = [[f"w{chance.randrange(WORDS)}" for _ in range(chance.randint(5, 40))] for _ in range(count)]
    return [(" ".join(row), " ".join(reversed(row))) for row in made]


def train(folder: Path, options: argparse.Namespace) -> None:
    """One run, in as many processes as call this."""
    import torch

    from antiphon import train

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    train(
        {
            "data": {"train": rows(6000)},
            "tokenizer": {"kind": "words", "vocab_size": WORDS + 100},
            "model": {"preset": options.preset},
            "training": {
                "max_steps": options.steps, "batch_tokens": options.batch_tokens, "accumulate": options.accumulate,
                "log_every_steps": 1, "save_every_steps": options.steps, "parallel": options.parallel,
            },
            "output": str(folder),
        },
        quiet=True,
    )  # fmt: skip


def speed(folder: Path, options: argparse.Namespace, *, processes: int, threads: int) -> tuple[float, list[float]]:
    """The median of the tokens a second of the steps but the first two, and the losses."""
    words = [__file__, "--into", str(folder), *options.words]
    command = [sys.executable, *words]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *launcher, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    log: list[dict[str, Any]] = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in log if "tokens_per_second" in row]
    return statistics.median(row["tokens_per_second"] for row in steps[2:]), [row["loss"] for row in steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--accumulate", type=int, default=2)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--parallel", default="ddp", choices=["ddp", "fsdp"])
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.words = sys.argv[1:]
    if options.into is not None:
        train(options.into, options)
        return
    found: dict[str, list[float]] = {"one": [], "several": []}
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            one, first = speed(Path(name) / "one", options, processes=1, threads=options.processes)
            several, second = speed(Path(name) / "several", options, processes=options.processes, threads=1)
        found["one"].append(one)
        found["several"].append(several)
        apart = max(abs(a - b) for a, b in zip(first, second, strict=True))
        print(f"round {number + 1}: one {one:,.0f}, several {several:,.0f} tokens/s; losses differ by {apart:.1g}")
    one, several = (statistics.median(each) for each in found.values())
    threads = options.processes
    print(f"{options.preset}, {options.parallel}: 1 process x {threads} threads {one:,.0f} tokens/s")
    print(f"{threads} processes x 1 thread {several:,.0f} tokens/s, {several / one:.1%} of it")


if __name__ == "__main__":
    main()
