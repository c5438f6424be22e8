"""The time and memory that `antiphon inspect` estimates for a run, against the run.

    python benchmarks/inspect_estimate.py                # the demo's model and data, 300 steps, three times
    python benchmarks/inspect_estimate.py --recipe recipes/spoken-digits.yaml --times 1

Both leave out the time in which other programs had the processors (Linux). What these take of caches and of the
memory's bandwidth is counted as an error, so the machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import antiphon
from antiphon.inspection.processor import Stopwatch
from antiphon.recipe import read_recipe
from antiphon.text.phrases import phrases
from antiphon.training.reporting.record import read_rows
from antiphon.workflows.demos.phrases import demo_config


def train(steps: int, folder: str, recipe: str | None) -> None:
    """Train in this process, and write what it waited for a processor beside the run."""
    watch = Stopwatch()
    antiphon.train(config(steps, folder, recipe), quiet=True)
    Path(f"{folder}-waited").write_text(f"{watch.waited} {watch.elapsed}", encoding="utf-8")


def config(steps: int, folder: str, recipe: str | None) -> antiphon.TrainConfig:
    """The recipe of the run, with a validation after each half of the steps."""
    if recipe is not None:
        steps_of_run = {"training.max_steps": str(steps), "validation.every_steps": str(steps // 2)}
        return replace(read_recipe(recipe, steps_of_run), output=folder)
    corpus = phrases("en", "de")
    made = demo_config(corpus, steps=steps, minutes=None, output=folder)
    return replace(made, validation=replace(made.validation, every=None, every_steps=steps // 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--recipe", help="another run than the demo's; its data must be there")
    parser.add_argument("--train", metavar="FOLDER", help="only train, in this process: what the benchmark starts")
    flags = parser.parse_args()
    if flags.train:
        train(flags.steps, flags.train, flags.recipe)
        return
    for _ in range(flags.times):
        with tempfile.TemporaryDirectory() as folder:
            run = f"{folder}/run"
            estimate = antiphon.inspect(config(flags.steps, run, flags.recipe)).estimate
            assert estimate is not None
            began = time.perf_counter()
            command = [sys.executable, __file__, "--steps", str(flags.steps), "--train", run]
            subprocess.run([*command, *(["--recipe", flags.recipe] if flags.recipe else [])], check=True)
            seconds, rows = time.perf_counter() - began, read_rows(Path(run))
            waited, elapsed = map(float, Path(f"{run}-waited").read_text(encoding="utf-8").split())
        seconds -= waited
        training = max(row["time_seconds"] for row in rows) * (1 - waited / elapsed)
        memory = max(row["peak_memory_bytes"] for row in rows if "peak_memory_bytes" in row)
        pairs = (
            ("whole run, s", estimate.seconds, seconds),
            ("training, s", estimate.training_seconds, training),
            ("memory, MiB", estimate.measured.peak_bytes / 2**20, memory / 2**20),
        )
        said = (
            f"{name}: {one:.1f} estimated, {two:.1f} taken ({100 * (one / two - 1):+.0f} %)" for name, one, two in pairs
        )
        share = estimate.measured.conditions.waited_share
        waits = f"waiting left out: {100 * share:.0f} % of the trial, {100 * waited / elapsed:.0f} % of the run"
        sys.stdout.write("; ".join([*said, waits]) + "\n")


if __name__ == "__main__":
    main()
