"""Optimizers, groups and regularizers from a recipe's text to a run folder: resume, and errors with their line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

import antiphon
from antiphon.errors import ConfigError
from antiphon.recipe import read_recipe
from antiphon.workflows import train

WORDS = ["one", "two", "three", "four", "five", "six"]
RECIPE = """\
data: {train: {path: pairs.tsv}, valid: {path: valid.tsv}}
tokenizer: {kind: bpe, vocab_size: 300}
model: {preset: tiny, d_model: 32, ffn_dim: 48, num_heads: 2, decoder_layers: 1, word_dropout: 0.1, layer_drop: 0.1}
training:
  max_steps: 20
  batch_tokens: 200
  save_every_steps: 5
  warmup_steps: 5
  layer_decay: 0.9
  OPTIMIZER
  groups:
    - {match: "encoder.layers.0.*", freeze: true}
    - {match: "*.norm.*", lr_scale: 2, weight_decay: 1e-3}
  REST
validation: {every_steps: 5, metrics: [chrf], samples: 1}
"""
KNOBS = {
    "muon": ("optimizer: {muon: {momentum: 0.9, adamw_lr: 3e-4}}", "r_drop: 3\n  ema: 0.9\n  average_best: 2"),
    "schedule_free": (
        "optimizer: schedule_free",
        "schedule: constant\n  ema: 0.8\n  r_drop: 1\n  accumulate: 2\n  average_last: 3\n  average_best: 3",
    ),
    "class": ("optimizer: {torch.optim:RMSprop: {alpha: 0.9}}", "mixout: 0.2\n  checkpoint_activations: true"),
}


def write(folder: Path, optimizer: str = "optimizer: adamw", rest: str = "patience: 9") -> Path:
    folder.mkdir(exist_ok=True)
    pairs = [f"{a} {b}\t{b} {a}" for a in WORDS for b in WORDS]
    (folder / "pairs.tsv").write_text("\n".join(pairs) + "\n")
    (folder / "valid.tsv").write_text("\n".join(pairs[::5]) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE.replace("OPTIMIZER", optimizer).replace("REST", rest))
    return folder / "recipe.yaml"


def digests(folder: Path) -> dict[str, str]:
    """Of all that must not depend on where the run was cut."""
    files = [path for path in folder.rglob("*.safetensors") if "snapshots" not in path.parts or "step-20" in path.parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", KNOBS)
def test_resumed_is_uninterrupted(tmp_path: Path, name: str) -> None:
    recipe = write(tmp_path, *KNOBS[name])

    def go(folder: str, steps: int) -> Any:
        changes = {"output": str(tmp_path / folder), "training.max_steps": str(steps)}
        return train(read_recipe(recipe, changes), resume=True, quiet=True)

    whole = go("whole", 20)
    for steps in (5, 15, 20):
        go("parts", steps)
    wanted = digests(tmp_path / "whole")
    assert digests(tmp_path / "parts") == wanted and "model/model.safetensors" in wanted
    model = antiphon.load(tmp_path / "parts")
    assert model.generate("one two")[0].text == whole.model.generate("one two")[0].text
    averaged = {row["averaged_by"] for row in whole.metrics if "averaged" in row}
    assert averaged == {"muon": {"best"}, "schedule_free": {"last", "best"}, "class": set()}[name]


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("optimizer: adamv", 10, "`training.optimizer` cannot be used: `adamv` is not a known optimizer, did you mean"),
        ("schedule: cosin", 10, "`training.schedule` cannot be used: `cosin` is not a known schedule, did you mean"),
        ("optimizer: {muon: {momentun: 1}}", 10, "`training.optimizer.muon.momentun` is not a known setting"),
        ("optimizer: {sgd: {momentum: -1}}", 10, "`training.optimizer` cannot make `sgd`"),
        ("optimizer: [adamw]", 10, "`training.optimizer` must be a name or {name: settings}, but is a list"),
        ("mixout: 1", 10, "`training.mixout` must be at least 0 and below 1, but is 1"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, line: str, place: int, words: str) -> None:
    recipe = write(tmp_path, line)
    with pytest.raises(ConfigError) as caught:
        train(read_recipe(recipe, {"output": str(tmp_path / "run")}), quiet=True)
    assert words in str(caught.value) and f"{recipe}:{place}" in str(caught.value)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_pattern_for_nothing_names_its_line(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    recipe.write_text(recipe.read_text().replace("encoder.layers.0.*", "encoder.layer.0.*"))
    with pytest.raises(ConfigError) as caught:
        train(read_recipe(recipe, {"output": str(tmp_path / "run")}), quiet=True)
    assert f"{recipe}:12" in str(caught.value) and "encoder.layers.0" in str(caught.value)


def test_a_setting_of_a_group_names_its_number_and_line(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    recipe.write_text(recipe.read_text().replace("lr_scale: 2,", "lr: 2,"))
    with pytest.raises(ConfigError, match=r"`training\.groups\.1\.lr` is not a known setting") as caught:
        read_recipe(recipe)
    assert f"{recipe}:13" in str(caught.value)


def test_an_unknown_task_names_its_line(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    recipe.write_text(recipe.read_text() + "task: translatoin\n")
    with pytest.raises(ConfigError, match=r"`task` cannot be used.*did you mean `translation`") as caught:
        train(read_recipe(recipe, {"output": str(tmp_path / "run")}), quiet=True)
    assert f"{recipe}:16" in str(caught.value)


def test_groups_as_a_flag(tmp_path: Path) -> None:
    config = read_recipe(write(tmp_path), {"training.groups": "[{match: decoder.*, lr_scale: 3}]"})
    assert config.training.groups[0].lr_scale == 3 and len(config.training.groups) == 1
