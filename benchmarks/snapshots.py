"""What snapshots cost a run: the time for which they stop the training, and what they take from it beside it.

    python benchmarks/snapshots.py                               # preset base, on this machine
    python benchmarks/snapshots.py --device cuda --rows 512      # on a GPU

Rounds of steps of the training loop itself, with AdamW, in turns without and with one snapshot at their beginning.
`blocked` is the time that the loop waits for (the copy of the state), `beside` that of the thread that hashes, writes,
syncs and reads back, `slower` what a round with a snapshot took beyond one without; medians of the rounds. `bound` is
the share of (blocked + beside) in `--every` steps, all in seconds of the processor, which other programs disturb
little: as if the thread had no core of its own. `seen` is the share of `slower`, by the clock. On a GPU, `bound` is by
the clock too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from guards import make_loop

import antiphon.training.saving.background as background
from antiphon.config import TrainingConfig
from antiphon.models.stack import count_parameters
from antiphon.training.loop import Loop
from antiphon.training.resume import snapshot_bytes

VOCABULARY = 32_000


class TimedWork(background.BackgroundWork):
    """The work of a store, with its processor time."""

    seconds = 0.0

    def _run(self, work: Any) -> None:
        began = time.thread_time()
        super()._run(work)
        self.seconds = time.thread_time() - began


def make(folder: Path, settings: argparse.Namespace) -> Loop:
    training = TrainingConfig(max_steps=10**9, warmup_steps=1000, precision=settings.precision, keep_last=2)
    sizes = {"rows": settings.rows, "length": settings.length, "vocabulary": VOCABULARY}
    loop = make_loop(folder, training, preset=settings.preset, device=settings.device, **sizes)
    loop.parts.store.background = TimedWork()
    return loop


class Round(NamedTuple):
    """Seconds of a round: by the clock, and of the processor or, on a GPU, by the clock too."""

    clock: float
    blocked: float
    steps: float
    beside: float


def steps(loop: Loop, count: int, *, save: bool) -> Round:
    """Take `count` steps, after the beginning of a snapshot or not."""
    used = time.thread_time if loop.network.device.type == "cpu" else time.perf_counter
    began, start = time.perf_counter(), used()
    if save:
        loop.save()
    saved = used()
    for _ in range(count):
        loop.step()
    done = used()
    loop.parts.store.wait()
    beside = loop.parts.store.background.seconds  # type: ignore[attr-defined]
    return Round(time.perf_counter() - began, saved - start, done - saved, beside)


def measure(folder: Path, settings: argparse.Namespace) -> dict[str, Any]:
    loop = make(folder, settings)
    steps(loop, 2, save=False)
    plain, saving = [], []
    for _ in range(settings.rounds):
        plain.append(steps(loop, settings.steps, save=False))
        saving.append(steps(loop, settings.steps, save=True))
    clock = statistics.median(each.clock for each in plain)
    step = statistics.median(each.steps for each in plain) / settings.steps
    slower = statistics.median(each.clock for each in saving) - clock
    blocked, beside = (
        statistics.median(values) for values in zip(*((e.blocked, e.beside) for e in saving), strict=True)
    )
    return {
        "preset": settings.preset,
        "parameters": count_parameters(loop.network),
        "snapshot_MB": round(snapshot_bytes(loop.now) / 1e6, 1),
        "tokens_a_step": 2 * settings.rows * settings.length,
        "step_s": round(step, 3),
        "step_clock_s": round(clock / settings.steps, 3),
        "blocked_s": round(blocked, 3),
        "beside_s": round(beside, 3),
        "slower_clock_s": round(slower, 3),
        f"bound_of_{settings.every}_steps_percent": round(100 * (blocked + beside) / (settings.every * step), 3),
        f"seen_of_{settings.every}_steps_percent": round(100 * slower * settings.steps / (settings.every * clock), 3),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=24)
    parser.add_argument(
        "--steps", type=int, default=4, help="of a round; the snapshot should be complete before its end"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=500, help="steps between two snapshots of a run")
    parser.add_argument("--folder", help="on the disk to measure; default: the system's folder of temporary files")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        sys.stdout.write(json.dumps(measure(Path(folder), settings), indent=1) + "\n")


if __name__ == "__main__":
    main()
