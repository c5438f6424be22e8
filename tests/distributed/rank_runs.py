"""Runs of a tiny recipe in float64, on as many ranks as call them, which test_equal_runs.py compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file

from antiphon.generation.load import load
from antiphon.generation.model import Model
from antiphon.models.folders.reading import read_model
from antiphon.training.resume import snapshot_weights
from antiphon.training.snapshot import SnapshotStore
from antiphon.workflows import base, teacher, train

WORDS = ["one", "two", "three", "four", "five", "six"]
PAIRS = [(f"{a} {b}" + f" {c}" * n, f"{c} {b} {a}") for n, a in enumerate(WORDS[:4]) for b in WORDS for c in WORDS]
MODEL = {"preset": "tiny", "d_model": 16, "num_heads": 2, "ffn_dim": 24, "dropout": 0.1}
BASE = "base"  # the run that other cases start from, and their teacher

# Each: sections of the recipe. `accumulate` 3 is uneven on two ranks, 4 on three, and 1 leaves ranks without work.
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "idle": {"training": {"accumulate": 1}},
    "uneven": {"training": {"accumulate": 4}},
    "clipped": {"training": {"clip_norm": 0.2}},
    "ema": {"training": {"ema": 0.9}},
    "r_drop": {"training": {"r_drop": 1.0}},
    "ctc": {"model": {"ctc": True, "layer_drop": 0.4}, "training": {"ctc_weight": 0.6}},
    "mixout": {"training": {"mixout": 0.3}},
    "word_dropout": {"model": {"word_dropout": 0.2}},
    "bpe_dropout": {"tokenizer": {"dropout": 0.2}},
    "layer_drop": {"model": {"layer_drop": 0.4}},
    "recomputed": {"training": {"checkpoint_activations": True}, "model": {"layer_drop": 0.3}},
    "distillation": {"training": {"distillation": {}}},
    "lora": {"training": {"adapter": {"rank": 2, "dropout": 0.1}}, "model": {"base": BASE}},
    "schedule_free": {"training": {"optimizer": "schedule_free", "schedule": "constant"}},
    "lion": {"training": {"optimizer": "lion", "lr": 1e-4}},
    "sgd": {"training": {"optimizer": "sgd"}},
    "muon": {"training": {"optimizer": "muon"}},
    "relative": {"attention": {"decoder": "relative", "encoder": "alibi"}, "model": {"layer_drop": 0.5}},
    "streamed": {"data": {"streaming": "always"}},
    "most": {
        "training": {"ema": 0.9, "r_drop": 0.5, "mixout": 0.2, "checkpoint_activations": True, "average_last": 2},
        "model": {"layer_drop": 0.3, "word_dropout": 0.1, "attention_dropout": 0.1, "ctc": True},
        "tokenizer": {"dropout": 0.2},
        "attention": {"decoder": "relative"},
    },
    "rest": {
        "training": {
            "adapter": {"rank": 2, "dropout": 0.1}, "distillation": {}, "optimizer": "schedule_free",
            "schedule": "constant",
        },
        "model": {"base": BASE, "ctc": True},
    },
}  # fmt: skip


def recipe(folder: Path, name: str, *, steps: int, **training: Any) -> dict[str, Any]:
    """The recipe of a case; `training` is laid over its section."""
    case = CASES.get(name, {})
    settings = {
        "max_steps": steps, "batch_tokens": 120, "accumulate": 3, "lr": 3e-3, "warmup_steps": 4,
        "log_every_steps": 1, "save_every_steps": max(1, steps // 2),
    }  # fmt: skip
    made: dict[str, Any] = {
        "data": {"train": PAIRS, "valid": PAIRS[::11], **case.get("data", {})},
        "tokenizer": {"kind": "bpe", "vocab_size": 290, **case.get("tokenizer", {})},
        "model": {**MODEL, **case.get("model", {})},
        "training": {**settings, **case.get("training", {}), **training},
        "validation": {"every_steps": max(1, steps // 2), "metrics": ["chrf"]},
        "output": str(folder / name),
    }
    if made["data"].get("streaming"):  # of files alone
        rows = "".join(f"{source}\t{target}\n" for source, target in PAIRS)
        made["data"]["train"] = {"path": str(folder / "pairs.tsv")}
        (folder / "pairs.tsv").write_text("source\ttarget\n" + rows, encoding="utf-8")
    if "attention" in case:
        made["attention"] = case["attention"]
    start = folder / BASE / "model"
    if "distillation" in made["training"]:
        made["training"]["distillation"] = {"teacher": str(start), "weight": 0.5}
        made["tokenizer"] = {"kind": str(start / "tokenizer.json")}
    if "base" in made["model"]:
        made["model"] = {**case["model"], "base": str(start)}
        del made["tokenizer"]
    return made


def run_case(folder: Path, name: str, *, steps: int, resume: bool = False, **training: Any) -> None:
    """Train a case in float64, in `folder`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with patch.object(base, "read_model", wide_base), patch.object(teacher, "load", wide_teacher):
            train(recipe(folder, name, steps=steps, **training), resume, quiet=True)
    finally:
        torch.set_default_dtype(before)


def wide_base(*given: Any, **settings: Any) -> Any:
    """A base in float64; models are loaded in float32."""
    parts = read_model(*given, **settings)
    parts.network.double()
    return parts


def wide_teacher(*given: Any, **settings: Any) -> Any:
    """A teacher in float64."""
    model = load(*given, **settings)
    assert isinstance(model, Model)
    model.network.double()
    return model


def rows(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's log."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    """Every figure of every step and validation that a sum of floats gives."""
    return [row[key] for row in rows(run) for key in ("loss", "nll", "grad_norm", "valid_loss", "chrf") if key in row]


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    """The weights of the last snapshot, and those of the model."""
    last = SnapshotStore(run / "snapshots", keep=None).newest()
    assert last is not None and last.step == step
    found = {f"snapshot.{name}": each for name, each in snapshot_weights(last).items()}
    return found | {f"model.{name}": each for name, each in load_file(run / "model" / "model.safetensors").items()}


def gap(run: Path, other: Path, step: int) -> tuple[float, float]:
    """The largest difference of two runs: of a figure of the log, and of a weight."""
    one, two = losses(run), losses(other)
    assert len(one) == len(two) > step
    ours, theirs = weights(run, step), weights(other, step)
    assert ours.keys() == theirs.keys()
    return max(abs(a - b) for a, b in zip(one, two, strict=True)), max(
        float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours
    )
