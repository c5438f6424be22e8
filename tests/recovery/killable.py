"""Trainings that a test kills: each is a fork of one process that has imported Antiphon, so that it starts at once.

    with Trainer(settings) as trainer:
        pid = trainer.start(folder); os.kill(pid, signal.SIGKILL); trainer.wait() == -9

As a program (`python killable.py`) this file is the process that is forked.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

CLOCK = {"time_seconds", "tokens_per_second", "step_seconds", "seconds_left", "peak_memory_bytes"}


def settings(*, steps: int) -> dict[str, Any]:
    """The tiny model of the acceptance figures: 2+2 layers, d 64, 500 pieces, dropout, 3 micro-batches a step."""
    dice = random.Random(0)
    words = [
        "".join(dice.choices(["ka", "lo", "mi", "su", "te", "ra", "ne", "po"], k=dice.randint(2, 4)))
        for _ in range(150)
    ]
    rows = [dice.choices(words, k=3) for _ in range(240)]
    pairs = [(" ".join(row), " ".join(row[::-1])) for row in rows]
    return {
        "data": {"train": pairs, "valid": pairs[::20]},
        "tokenizer": {"kind": "bpe", "vocab_size": 500},
        "model": {"preset": "tiny", "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.1},
        "training": {"max_steps": steps, "batch_tokens": 200, "accumulate": 3, "save_every_steps": 10},
        "validation": {"every_steps": 30, "metrics": ["chrf"]},
    }


def account(folder: Path, *, step: int) -> tuple[list[str], list[dict[str, object]]]:
    """SHA-256 of the last weights, optimizer and model, and the log without what the clock decides."""
    last = folder / "snapshots" / f"step-{step}"
    files = [last / "weights.safetensors", last / "optimizer.safetensors", folder / "model" / "model.safetensors"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files], [
        {key: value for key, value in row.items() if key not in CLOCK} for row in rows
    ]


class Trainer:
    """Starts trainings of one recipe, one after the other; each goes on from what is in its folder."""

    def __init__(self, recipe: dict[str, Any]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__, json.dumps(recipe)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, folder: Path, *, seed: int = 1) -> int:
        """The process that trains into `folder`."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"folder": str(folder), "seed": seed}) + "\n")
        self._server.stdin.flush()
        return self._number()

    def wait(self) -> int:
        """The exit code of the process that was started; minus the signal that ended it."""
        return self._number()

    def train(self, folder: Path, *, seed: int = 1) -> float:
        """Trains to the end; the seconds that it took."""
        began = time.monotonic()
        self.start(folder, seed=seed)
        assert self.wait() == 0, "the training failed; its error is above"
        return time.monotonic() - began

    def _number(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())

    def __enter__(self) -> Trainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.kill()
        self._server.communicate()


def serve(recipe: dict[str, Any]) -> None:
    """Forks for each folder that is read; writes the process and, when it has ended, its exit code."""
    for name in ("workflows", "workflows.train", "training.loop", "evaluation.evaluate", "generation.load", "reports"):
        importlib.import_module(f"antiphon.{name}")
    for name in ("rich.text", "sacrebleu"):  # of the display and of a validation
        importlib.import_module(name)
    import torch
    from torch import optim

    optim.AdamW([torch.zeros(1)])  # it imports torch._dynamo: seconds at each start
    torch.set_num_threads(1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(_train(recipe, **json.loads(line)))
        _answer(pid)
        _answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _train(recipe: dict[str, Any], *, folder: str, seed: int) -> int:
    from antiphon.workflows import train

    whole = {**recipe, "output": folder, "training": {**recipe["training"], "seed": seed}}
    try:
        train(whole, resume=True, quiet=True)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
