"""A tiny run in a folder, for the tests of the loop: real parts, a stream of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.batch import Example
from antiphon.config import AttentionConfig, ModelConfig, TrainingConfig
from antiphon.config.interval import read_interval
from antiphon.distributed.world import current_world
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.loop import Loop, LoopParts, Validation
from antiphon.training.optim import build_optimizer, build_schedule
from antiphon.training.parallel.single import SingleProcess
from antiphon.training.reporting.record import MutedLog, RunLog, SilentDisplay
from antiphon.training.snapshot import SnapshotStore

MODEL = ModelConfig(
    preset="tiny", d_model=16, ffn_dim=24, num_heads=2, dropout=0.1, attention_dropout=0.1, layer_drop=0.1
)

COLUMNS = ("step", "epoch", "loss", "nll", "lr", "grad_norm", "tokens", "padding_waste", "valid_loss")


class Reversals:
    """Batches of random rows and their reversal; the position is a number."""

    def __init__(self, rows: int = 6, *, length: int = 20) -> None:
        self.epoch, self.number, self.rows, self.length = 0, 0, rows, length

    def __next__(self) -> list[Example]:
        chance = random.Random(self.number)
        self.number += 1
        self.epoch = self.number // self.length
        out = []
        for index in range(self.rows):
            row = [chance.randrange(4, 12) for _ in range(chance.randrange(1, 6))]
            out.append(Example([*row, 2], [*row[::-1], 2], index))
        return out

    def state(self) -> dict[str, Any]:
        return {"number": self.number}

    def restore(self, state: dict[str, Any]) -> None:
        self.number = state["number"]
        self.epoch = self.number // self.length


class Said(SilentDisplay):
    """A display that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def make_loop(
    folder: Path,
    *,
    validate: Callable[[EncoderDecoder, Callable[[], bool]], Validation | None] | None = None,
    save_best: Callable[[EncoderDecoder], None] = lambda network: None,
    every: int | str = 10,
    model: ModelConfig = MODEL,
    teacher: EncoderDecoder | None = None,
    pass_length: int = 20,
    deal: Callable[[EncoderDecoder, TrainingConfig], SingleProcess] | None = None,
    **settings: Any,
) -> Loop:
    """A loop in `folder`, which is made. `deal`: how the network trains on several ranks, of which the first logs."""
    folder.mkdir(parents=True, exist_ok=True)
    training = TrainingConfig(
        **{
            "max_steps": 30,
            "lr": 3e-3,
            "warmup_steps": 5,
            **({} if "save_every" in settings else {"save_every_steps": 10}),
            **({} if "log_every" in settings else {"log_every_steps": 5}),
            **settings,
        }
    )
    network = build_network(model, AttentionConfig(decoder="relative"), source_vocab=12, target_vocab=12, shared=True)
    record = RunLog(folder, Said()) if deal is None or current_world().main else MutedLog(folder, Said())
    parallel = None if deal is None else deal(network, training)
    parts = LoopParts(
        network=network,
        batches=Reversals(length=pass_length),
        optimizer=build_optimizer(network if parallel is None else parallel.network, training),
        schedule=build_schedule(training),
        validate=validate,
        save_best=save_best,
        record=record,
        store=SnapshotStore(folder / "snapshots", keep=training.keep_last, say=record.say),
        pad_id=0,
        start_id=1,
        special_ids=(1, 2),
        teacher=teacher,
        parallel=parallel,
    )
    return Loop(parts, training, validate_every=read_interval(every))


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in COLUMNS if key in row} for row in lines]


def weights(loop: Loop) -> list[Tensor]:
    """The weights, what the optimizer keeps of each, and those that are evaluated."""
    parameters, state = list(loop.network.parameters()), loop.parts.optimizer.state
    moments = [part for parameter in parameters for _, part in sorted(state.get(parameter, {}).items())]
    assert all(isinstance(part, Tensor) for part in moments)
    return [*(parameter.detach() for parameter in parameters), *moments, *loop.evaluated.weights().values()]


def same(one: Loop, other: Loop) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
