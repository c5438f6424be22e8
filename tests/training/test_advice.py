"""What a run says before it trains: true where it says something, and silent where all is usual."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training.runs import MODEL, make_loop, rows

from antiphon.config import BaseConfig, TrainConfig, TrainingConfig
from antiphon.recipe import read_recipe, variant_names
from antiphon.training.optim import build_schedule
from antiphon.training.reporting.advice import advice, run_steps
from antiphon.workflows import train

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))


def lines(*, batches: int | None = 100, based: bool = False, **settings: Any) -> list[str]:
    training = TrainingConfig(**settings)
    return advice(training, build_schedule(training), batches_per_epoch=batches, based=based)


def configs(file: Path) -> list[TrainConfig]:
    return [read_recipe(file, variant=name) for name in variant_names(file)] or [read_recipe(file)]


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_our_own_recipes_are_usual(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_DATA", "/data")
    monkeypatch.setattr("antiphon.recipe.absolute", lambda config, folder: config)  # needs tokenizers of other runs
    for config in configs(file):
        schedule = build_schedule(config.training)
        based = isinstance(config.model, BaseConfig)
        assert advice(config.training, schedule, batches_per_epoch=100, based=based) == []


def test_the_warm_up_of_a_short_run() -> None:
    """The new user's: 400 pairs, ten epochs of 8 batches."""
    [line] = lines(max_epochs=10, batches=8)
    assert line == (
        "`training.warmup_steps` (400) is longer than the run (80 steps), so the rate never reaches its peak (0.001; "
        "the highest is 0.0002); lower it, for example to 8."
    )
    assert "is as long as the run (400 steps), so the rate only rises" in lines(max_steps=400)[0]
    assert lines(max_steps=401) == lines(max_epochs=10, batches=41) == []
    assert "(200 steps)" in lines(max_epochs=10, batches=40, accumulate=2)[0]
    assert "(80 steps)" in lines(max_steps=5000, max_epochs=10, batches=8)[0]
    assert lines(max_steps=1, warmup_steps=1) == lines(max_steps=1, warmup_steps=0) == []


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd", "inverse_sqrt"])
def test_every_schedule_that_warms_up(schedule: str) -> None:
    assert "is longer than the run" in lines(max_steps=100, schedule=schedule)[0]
    assert lines(max_steps=1000, schedule=schedule) == []


def test_what_is_not_known_is_not_said() -> None:
    assert lines(max_epochs=1, batches=None) == lines(max_minutes=1) == lines(patience=2) == []
    assert run_steps(TrainingConfig(max_epochs=3), None) is None
    training = TrainingConfig(max_steps=10, schedule="mine")
    assert advice(training, lambda step: 1e-3, batches_per_epoch=99, based=False) == []


def test_a_batch_that_holds_all_the_data() -> None:
    assert lines(max_steps=999, batches=1) == [
        "the data is one micro-batch, so each step reads all of it; lower `training.batch_tokens` (4096) for more "
        "steps an epoch."
    ]
    assert "2 micro-batches, so each step reads all of it 2 times" in lines(max_steps=999, batches=2, accumulate=4)[0]
    assert lines(max_steps=999, batches=2) == lines(max_steps=999, batches=5, accumulate=4) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 1e-7, "max_steps": 1000},
        {"lr": 1e-9, "max_steps": 100_000, "schedule": "constant"},
        {"lr": 1e-6, "max_steps": 1000, "optimizer": "adafactor"},
        {"lr": 1e-8, "max_steps": 1000, "optimizer": "sgd"},
        {"lr": 1e-10, "max_steps": 1000, "based": True},
    ],
)
def test_rates_that_move_nothing(settings: dict[str, Any]) -> None:
    [line] = lines(**settings)
    assert line.startswith(f"`training.lr` ({settings['lr']:g}) has almost no effect: all ")


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 1e-4, "max_steps": 1000},
        {"lr": 1e-5, "max_steps": 100, "warmup_steps": 10, "based": True},  # fine-tuning
        {"lr": 1e-6, "max_steps": 50, "warmup_steps": 0, "based": True},
        {"lr": 2e-5, "max_steps": 3000, "based": True, "schedule": "linear"},
        {"lr": 1e-3, "max_steps": 5000, "optimizer": "adafactor"},
        {"lr": 1e-5, "max_steps": 1000, "optimizer": "sgd", "clip_norm": 0},  # a gradient of any size
        {"lr": 1e-9, "max_steps": 1000, "optimizer": "torch.optim:Rprop"},  # not known
        {"lr": 1e-7, "max_steps": 1000, "groups": [{"match": "*", "lr_scale": 1e4}]},
    ],
)
def test_usual_rates_are_not_mentioned(settings: dict[str, Any]) -> None:
    assert lines(**settings) == []


def test_a_run_that_is_warned_of_learns_nothing_and_one_that_is_not_learns(tmp_path: Path) -> None:
    """The bound is on the safe side: just below it, the loss stays as it was."""
    small = replace(MODEL, encoder_layers=1, decoder_layers=1)
    for name, lr, moves in (("still", 3e-6, False), ("moves", 3e-3, True)):
        settings: dict[str, Any] = {"max_steps": 200, "lr": lr, "warmup_steps": 0, "schedule": "constant"}
        assert (lines(**settings) == []) is moves
        make_loop(tmp_path / name, model=small, log_every_steps=50, save_every_steps=200, **settings).run()
        found = [row["nll"] for row in rows(tmp_path / name)]
        assert (found[0] - found[-1] > 0.2) is moves, found


def test_a_run_says_it_in_its_first_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [(f"{a} {b}", f"{b} {a}") for a in "abcdef" for b in "abcdef"]
    made: dict[str, Any] = {
        "data": {"train": pairs},
        "tokenizer": {"kind": "characters"},
        "model": {"preset": "tiny", "d_model": 16, "num_heads": 2},
        "training": {"max_epochs": 2},
        "output": str(tmp_path / "run"),
    }
    train(made)
    said = capsys.readouterr().err
    assert "`training.warmup_steps` (400) is longer than the run (2 steps)" in said
    assert "the data is one micro-batch" in said
    made["training"] |= {"batch_tokens": 32, "warmup_steps": 3}
    train(made, overwrite=True)
    said = capsys.readouterr().err
    assert "warmup" not in said and "micro-batch" not in said
