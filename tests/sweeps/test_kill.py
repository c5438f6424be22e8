"""A sweep of real processes: killed by SIGKILL and resumed, its command line, its files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.cli.main import main
from antiphon.recipe import read_recipe

STEPS = 100


def steps(folder: Path) -> list[int]:
    """The steps whose loss was logged so far."""
    file = folder / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    return [row["step"] for row in map(json.loads, text[: text.rfind("\n") + 1].splitlines()) if "loss" in row]


@pytest.mark.timeout(1200)  # four processes, one after the other
def test_a_killed_sweep_is_resumed_and_nothing_is_trained_twice(
    write_sweep: Callable[..., Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "space: {training.lr: [1e-3]}\nset: {validation.every_steps: 100, training.save_every_steps: 50}\n"
    file = write_sweep(
        text.replace("set: {", f"set: {{training.max_steps: {STEPS}, ") + "storage: sqlite:///study.db\n"
    )
    command = [sys.executable, "-m", "antiphon", "sweep", str(file), "--threads", "1"]
    run = folder / "runs/sweeps/s/trial-0000/seed-0"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sweep:
        while sweep.poll() is None and len(steps(run)) < 3:
            time.sleep(0.05)
        os.kill(sweep.pid, signal.SIGKILL)
        sweep.communicate(timeout=60)
    assert sweep.returncode == -signal.SIGKILL
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trial 0 was interrupted and is continued" in done.stderr
    # The orphan saved its last step before it ended: the log has no row twice, and no step is missing.
    assert steps(run) == list(range(2, STEPS + 1, 2))
    head = [cell.strip() for cell in done.stdout.splitlines()[0].strip("|").split("|")]
    assert head == ["trial", "lr", "chrf", "runs", "state", "parameters", "minutes"]
    assert "1 setting (1 done), 1 run. No winner: only one setting has finished (lr=0.001)." in done.stdout
    best = read_recipe(folder / "runs/sweeps/s/best.yaml")
    assert best.training.lr == 1e-3 and best.training.max_steps == STEPS
    capsys.readouterr()
    assert main(["sweep", str(file), "--show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "runs/sweeps/s/sweep.json").read_text())
    assert main(["sweep", str(file)]) == 2
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1 and "must not exist yet, but does (trials: 1)" in refused
