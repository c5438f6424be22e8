"""What the guards cost a step of training: processor time of what they do in a step, and of the step.

    python benchmarks/guards.py                         # presets tiny and small
    python benchmarks/guards.py --presets base --rows 64

`guards` is everything that a step does for them while nothing happens: the number of passes, the parts of each
micro-batch, the clock, the range of the loss, the state of the generator, and once in `--every` steps their state in a
snapshot. Processor time, so that other work on the machine does not count. The share is an upper bound for a GPU too,
whose step takes the host's time alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from antiphon.batch import Example
from antiphon.config import AttentionConfig, ModelConfig, TrainingConfig
from antiphon.config.interval import Interval
from antiphon.models.build import build_network
from antiphon.training.guards.loss_range import BLOCK
from antiphon.training.loop import Loop, LoopParts
from antiphon.training.optim import build_optimizer
from antiphon.training.reporting.record import RunLog, make_display
from antiphon.training.snapshot import SnapshotStore

VOCABULARY, REPEATS = 8000, 40 * BLOCK


class RandomBatches:
    """Batches of `rows` random rows of `length` tokens a side."""

    epoch = 0

    def __init__(self, rows: int, length: int, *, vocabulary: int) -> None:
        self.rows, self.length, self.vocabulary = rows, length, vocabulary
        self.chance = torch.Generator().manual_seed(0)

    def __next__(self) -> list[Example]:
        shape = (self.rows, 2, self.length)
        ids = torch.randint(4, self.vocabulary, shape, generator=self.chance).tolist()
        return [Example(source, target, index) for index, (source, target) in enumerate(ids)]

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        raise NotImplementedError


def make_loop(
    folder: Path,
    settings: TrainingConfig,
    *,
    preset: str,
    rows: int,
    length: int,
    vocabulary: int = VOCABULARY,
    device: str = "cpu",
) -> Loop:
    """A loop without validation, on random rows; snapshots are in `folder`."""
    network = build_network(
        ModelConfig(preset=preset), AttentionConfig(), source_vocab=vocabulary, target_vocab=vocabulary, shared=True
    ).to(device)
    parts = LoopParts(
        network=network,
        batches=RandomBatches(rows, length, vocabulary=vocabulary),
        optimizer=build_optimizer(network, settings),
        schedule=lambda step: 1e-4,
        validate=None,
        save_best=lambda network: None,
        record=RunLog(folder, make_display(total_steps=None, quiet=True)),
        store=SnapshotStore(folder / "snapshots", keep=2),
        pad_id=0,
        start_id=1,
    )
    return Loop(parts, settings, validate_every=Interval(10**9, "steps"))


def step_seconds(loop: Loop, steps: int) -> float:
    """The processor seconds of a step, its threads included."""
    loop.step()
    began = time.process_time()
    for _ in range(steps):
        loop.step()
    return (time.process_time() - began) / steps


def guard_seconds(loop: Loop, every: int) -> float:
    """The processor seconds that the guards take of a step."""
    micro_batches = loop.ahead.take()
    protection, progress, device = loop.protection, loop.progress, loop.parallel.device
    began = time.process_time()
    for number in range(REPEATS):
        for place, (_, batch) in enumerate(micro_batches):
            others = loop.parallel.beside(place, len(micro_batches))
            least = protection.passes([micro_batches[other][0] for other in others])
            for part in protection.parts(batch, least=least):
                with protection.splitter.watching(part.rows, device):
                    pass
        progress.step += 1
        protection.counted(0.5)
        protection.judge(3.0 + number % 7 / 10)
        loop.recover_from_divergence()
    each = (time.process_time() - began) / REPEATS
    began = time.process_time()
    for _ in range(100):
        progress.needed_steps()
        json.dumps(asdict(progress.protection))
    return each + (time.process_time() - began) / 100 / every


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--presets", nargs="*", default=["tiny", "small"])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--every", type=int, default=500, help="steps between two snapshots")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for preset in chosen.presets:
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingConfig(max_steps=10**6, accumulate=chosen.accumulate)
            loop = make_loop(Path(folder), settings, preset=preset, rows=chosen.rows, length=chosen.length)
            step, guards = step_seconds(loop, chosen.steps), guard_seconds(loop, chosen.every)
        print(f"{preset}: step {1000 * step:.1f} ms, guards {1e6 * guards:.1f} us, {guards / step:.4%} of the step")


if __name__ == "__main__":
    main()
