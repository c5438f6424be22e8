"""A run that goes on in another world is the run of one process: saved under FSDP2, DDP or alone, loaded by another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from counts import count
from torch import Tensor
from worlds import run_world

from antiphon.models.folders.checkpoint import load_weights
from antiphon.training.resume import snapshot_weights
from antiphon.training.snapshot import SnapshotStore
from antiphon.workflows import train
from antiphon.workflows.average import average_run

WORDS = ("one", "two", "three", "four", "five")
PAIRS = [(f"{a} {b} {c}", f"{c} {b} {a}") for a in WORDS for b in WORDS for c in WORDS]
PART = count("resharded_steps")  # in each world


def recipe(folder: Path, steps: int, parallel: str) -> dict[str, Any]:
    return {
        "data": {"train": PAIRS, "valid": PAIRS[::9]},
        "tokenizer": {"kind": "bpe", "vocab_size": 300},
        "model": {
            "preset": "tiny", "d_model": 16, "ffn_dim": 32, "dropout": 0.1, "encoder_layers": 1, "decoder_layers": 1,
        },
        "training": {
            "max_steps": steps, "batch_tokens": 60, "accumulate": 4, "save_every_steps": PART, "log_every_steps": 1,
            "ema": 0.9, "parallel": parallel,
        },
        "validation": {"every_steps": 1000},
        "output": str(folder),
    }  # fmt: skip


def go_on(folder: Path, steps: int, parallel: str) -> None:
    """Train to `steps`, from the newest snapshot, in float64."""
    torch.set_default_dtype(torch.float64)
    train(recipe(folder, steps, parallel), resume=True, quiet=True)


def losses(folder: Path) -> list[tuple[int, float]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in found if "loss" in row]


def last(folder: Path) -> dict[str, Tensor]:
    newest = SnapshotStore(folder / "snapshots", keep=None).newest()
    assert newest is not None
    return snapshot_weights(newest)


def test_two_then_one_then_three_then_two_are_one(tmp_path: Path) -> None:
    way = [(2, "fsdp"), (1, "auto"), (3, "fsdp"), (2, "ddp")]
    run_world(1, go_on, tmp_path / "one", PART * len(way), "auto")
    for number, (size, parallel) in enumerate(way, start=1):
        run_world(size, go_on, tmp_path / "many", PART * number, parallel)
        shards = [*(tmp_path / "many" / "snapshots" / f"step-{PART * number}").glob("shard-*.safetensors")]
        assert len(shards) == (size if parallel == "fsdp" else 0)
        exported = average_run(tmp_path / "many", last=1, output=tmp_path / f"exported-{number}")
        weights = load_weights(exported / "model.safetensors")
        assert all(torch.equal(weights[name], tensor.float()) for name, tensor in last(tmp_path / "many").items())
    mine, wanted = losses(tmp_path / "many"), losses(tmp_path / "one")
    assert [step for step, _ in mine] == [step for step, _ in wanted] == [*range(1, PART * len(way) + 1)]
    assert max(abs(one - other) for (_, one), (_, other) in zip(mine, wanted, strict=True)) < 1e-10
    weights = last(tmp_path / "many")
    for name, tensor in last(tmp_path / "one").items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=1e-9)
