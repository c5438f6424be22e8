"""SIGKILL of a random rank, and of the launcher, at a random moment: the run ends with the same bytes as one that was
not disturbed, and nothing waits for longer than a minute.

A lost rank: the launcher starts all ranks again, which go on from the newest whole snapshot. A lost launcher: the ranks
save and end, and `--resume` goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from counts import count
from torture.figures import FigureRecorder
from worlds import run_world

from antiphon.recipe import read_recipe
from antiphon.workflows import train

LIMIT_SECONDS = 60  # from a kill until the ranks have ended, or have started again
STEPS, SAVES = 20, 4
RECIPE = """
data: {train: {path: train.tsv}, valid: {path: valid.tsv}}
tokenizer: {kind: bpe, vocab_size: 300}
model: {preset: tiny, d_model: 32, dropout: 0.1}
training: {max_steps: 20, batch_tokens: 200, accumulate: 3, save_every_steps: 4}
validation: {every_steps: 10, metrics: [chrf]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    words = ["one", "two", "three", "four", "five"]
    pairs = [f"{a} {b} {c}\t{c} {b} {a}\n" for a in words for b in words for c in words]
    (tmp_path / "train.tsv").write_text("".join(pairs), encoding="utf-8")
    (tmp_path / "valid.tsv").write_text("".join(pairs[::9]), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path / "recipe.yaml"


def start(recipe: Path, folder: Path) -> subprocess.Popen[bytes]:
    words = ["train", str(recipe), "--output", str(folder), "--processes", "2", "--threads", "1", "--quiet", "--resume"]
    return subprocess.Popen([sys.executable, "-m", "antiphon", *words], stderr=subprocess.PIPE, process_group=0)


def finish(process: subprocess.Popen[bytes]) -> str:
    """Wait for the end of a run that must succeed; returns its standard error."""
    try:
        _, errors = process.communicate(timeout=300)
    finally:
        for pid in ranks(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
    assert process.returncode == 0, errors.decode()
    return errors.decode()


def ranks(launcher: int) -> list[int]:
    """The process numbers of the ranks that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            words = stat.with_name("cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(fields[1]) == launcher and fields[0] != "Z" and b"antiphon.distributed.child" in words:
            found.append(int(stat.parent.name))
    return found


def random_moment(process: subprocess.Popen[bytes], folder: Path, chance: random.Random) -> None:
    """Wait until the ranks run and there are so many snapshots, drawn at random, and a moment longer."""
    wanted = chance.randrange(0, STEPS // SAVES)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        steps = [int(path.parent.name.partition("-")[2]) for path in folder.glob("snapshots/step-*/manifest.json")]
        if len(ranks(process.pid)) == 2 and max(steps, default=0) >= SAVES * wanted:
            break
        time.sleep(0.02)
    time.sleep(chance.random() * (0.4 if wanted else 6))


def account(folder: Path) -> tuple[list[str], list[dict[str, object]]]:
    """Hashes of the last weights, optimizer and model, and the log without what the clock decides."""
    last = folder / "snapshots" / f"step-{STEPS}"
    files = [*sorted(last.glob("*.safetensors")), folder / "model" / "model.safetensors"]
    assert len(files) >= 3
    clock = {"time_seconds", "tokens_per_second", "step_seconds", "seconds_left", "peak_memory_bytes"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    hashes = [f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    return hashes, [{key: value for key, value in row.items() if key not in clock} for row in rows]


def lose_a_rank(process: subprocess.Popen[bytes], chance: random.Random) -> bool:
    """Kill one rank; the others must be gone, or have started again, within the limit. False if none runs."""
    before = ranks(process.pid)
    if not before:
        return False
    os.kill(chance.choice(before), signal.SIGKILL)
    began = time.monotonic()
    while process.poll() is None and not (len(now := ranks(process.pid)) == 2 and not set(now) & set(before)):
        assert time.monotonic() - began < LIMIT_SECONDS, "the ranks do not start again"
        time.sleep(0.02)
    return True


def lose_the_launcher(process: subprocess.Popen[bytes]) -> None:
    """Kill the launcher; the ranks must end within the limit."""
    left = ranks(process.pid)
    process.kill()
    process.communicate(timeout=20)
    began = time.monotonic()
    while any(Path(f"/proc/{pid}").exists() for pid in left):
        assert time.monotonic() - began < LIMIT_SECONDS, "a rank outlives its launcher"
        time.sleep(0.02)


def train_undisturbed(recipe: Path, folder: Path) -> None:
    train(read_recipe(recipe, {"output": str(folder)}), quiet=True)


@pytest.mark.timeout(7200)
def test_lost_ranks_and_launchers_change_nothing(recipe: Path, tmp_path: Path, figures: FigureRecorder) -> None:
    run_world(2, train_undisturbed, recipe, tmp_path / "whole")  # two forks of this process, without a launcher
    wanted = account(tmp_path / "whole")
    chance, lost = random.Random(), 0
    for trial in range(count("lost_ranks")):
        folder = tmp_path / f"disturbed-{trial}"
        process = start(recipe, folder)
        random_moment(process, folder, chance)
        lost += lose_a_rank(process, chance)
        if trial < count("lost_launchers"):
            random_moment(process, folder, chance)
            lose_the_launcher(process)
            process = start(recipe, folder)
        finish(process)
        assert account(folder) == wanted, f"trial {trial}"
        shutil.rmtree(folder)
    assert lost >= 1
    figures.add("ranks killed", lost)
    figures.add("launchers killed", min(count("lost_launchers"), count("lost_ranks")))
