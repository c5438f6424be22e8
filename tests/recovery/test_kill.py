"""SIGKILL at a random moment: the run that goes on ends with the same bytes as the one that was not killed."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from counts import count

SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from antiphon.workflows import train
words = ["one", "two", "three", "four", "five"]
pairs = [(f"{a} {b} {c}", f"{c} {b} {a}") for a in words for b in words for c in words]
train(
    {
        "data": {"train": pairs, "valid": pairs[::9]},
        "tokenizer": {"kind": "bpe", "vocab_size": 300},
        "model": {"preset": "tiny", "d_model": 64, "dropout": 0.1},
        "training": {"max_steps": 120, "batch_tokens": 200, "accumulate": 3, "save_every_steps": 10},
        "validation": {"every_steps": 30, "metrics": ["chrf"]},
        "output": sys.argv[1],
    },
    resume=True,
    quiet=True,
)
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()


def account(folder: Path) -> tuple[list[str], list[dict[str, object]]]:
    """Hashes of the last weights, optimizer and model, and the log without what the clock decides."""
    last = folder / "snapshots" / "step-120"
    files = [last / "weights.safetensors", last / "optimizer.safetensors", folder / "model" / "model.safetensors"]
    clock = {"time_seconds", "tokens_per_second", "step_seconds", "seconds_left", "peak_memory_bytes"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files], [
        {key: value for key, value in row.items() if key not in clock} for row in rows
    ]


@pytest.mark.timeout(1200)
def test_killed_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    finish(start(tmp_path / "whole"))
    wanted = account(tmp_path / "whole")
    chance = random.Random(0)
    for trial in range(count("kills")):
        folder = tmp_path / f"killed-{trial}"
        process = start(folder)
        # Wait for a random number of snapshots, then a random moment more.
        for _ in range(chance.randrange(1, 8)):
            known = len(list(folder.glob("snapshots/step-*/manifest.json")))
            while process.poll() is None and len(list(folder.glob("snapshots/step-*/manifest.json"))) == known < 5:
                time.sleep(0.01)
        time.sleep(chance.random() * 0.5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        finish(start(folder))
        assert account(folder) == wanted
