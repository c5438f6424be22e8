"""A recipe, a sweep over it, and runs that are made up instead of trained: a function gives their validations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from antiphon.recipe import read_mapping
from antiphon.sweeps import trial as trial_module
from antiphon.sweeps.processes import ProcessEnd

RECIPE = """
task: text
data: {train: {path: p.tsv}, valid: {path: p.tsv}}
tokenizer: {kind: characters, vocab_size: 300}
model: {preset: tiny, d_model: 32, num_heads: 2, ffn_dim: 32, encoder_layers: 1, decoder_layers: 1}
training: {max_steps: 20, batch_tokens: 200, log_every_steps: 2, warmup_steps: 2, save_every_steps: 4}
validation: {every_steps: 10, metrics: [chrf], samples: 1}
output: out
"""
Values = Callable[[Mapping[str, Any]], Sequence[float]]


class MadeRuns:
    """Stands for `run_training`: writes the folder of a run whose validations are `values(recipe)`, one each 10 steps.

    `codes` are exit codes that a run has instead. `started` are the runs in order, `words` is the last command.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self.started: list[str] = []
        self.words: list[str] = []
        self.codes: dict[str, tuple[int, str]] = {}
        self.answers: Callable[[Mapping[str, Any]], list[dict[str, Any]]] | None = None

    def __call__(
        self, words: Sequence[str], *, log: Path | None = None, should_stop: Callable[[], bool] | None = None
    ) -> ProcessEnd:
        recipe, folder = read_mapping(words[1]), Path(words[words.index("--output") + 1])
        name = f"{folder.parent.name}/{folder.name}"
        self.started.append(name)
        self.words = list(words)
        assert log is not None
        if name in self.codes:
            code, said = self.codes[name]
            log.write_text(f"antiphon: {said}\n")
            return ProcessEnd(code)
        (folder / "model").mkdir(parents=True, exist_ok=True)
        save_file({"w": torch.zeros(2, 3)}, folder / "model" / "model.safetensors")
        rows: list[dict[str, Any]] = []
        stopped = False
        for number, value in enumerate(self.values(recipe), 1):
            rows.append(
                {"step": 10 * number, "epoch": 1, "time_seconds": 60.0 * number, "valid_loss": 1.0, "chrf": value}
            )
            (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            if should_stop is not None and should_stop():
                stopped = True
                break
        if self.answers is not None:
            lines = (json.dumps({"step": 10, **row}) for row in self.answers(recipe))
            (folder / "valid_answers.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return ProcessEnd(143 if stopped else 0, stopped)


@pytest.fixture
def made_runs(monkeypatch: pytest.MonkeyPatch) -> MadeRuns:
    """Runs whose chrF rises with the rate."""
    runs = MadeRuns(lambda recipe: [100 * recipe["training"]["lr"], 1000 * recipe["training"]["lr"]])
    monkeypatch.setattr(trial_module, "run_training", runs)
    return runs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the recipe and its data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.tsv").write_text("".join(f"a{i} b{i}\tb{i} a{i}\n" for i in range(20)))
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def write_sweep(folder: Path) -> Callable[..., Path]:
    """Writes a sweep over the recipe: its text without `recipe`, and by default a journal, which is fast."""

    def write(text: str, name: str = "s.yaml") -> Path:
        file = folder / name
        storage = "" if "storage:" in text else f"storage: journal:{name}.log\n"
        file.write_text(f"recipe: r.yaml\n{text}{storage}")
        return file

    return write
