"""Parameter groups: patterns, layers, frozen parameters, and the rate that the loop gives each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training.runs import make_loop, same

from antiphon.config import AttentionConfig, ModelConfig, TrainingConfig
from antiphon.models.build import build_network
from antiphon.settings import SettingError
from antiphon.training.groups import parameter_groups
from antiphon.training.optim import build_optimizer


def network(**settings: Any) -> torch.nn.Module:
    shape: dict[str, Any] = {"preset": "tiny", "encoder_layers": 3, "decoder_layers": 2, "bias": True, **settings}
    return build_network(
        ModelConfig(**shape), AttentionConfig(decoder="relative"), source_vocab=9, target_vocab=9, shared=False
    )


def found(model: torch.nn.Module, **settings: Any) -> dict[str, dict[str, Any]]:
    """The group of each parameter that learns, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, TrainingConfig(**settings))
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}


def test_the_first_match_wins_and_the_rest_is_as_ever() -> None:
    model = network()
    groups = [
        {"match": "encoder.layers.0.*", "freeze": True},
        {"match": "encoder.*", "lr_scale": 0.1, "weight_decay": 0.5},
        {"match": "*.bias", "lr_scale": 2},
    ]
    by_name = found(model, groups=groups, weight_decay=0.01)
    frozen = {name for name, _ in model.named_parameters()} - set(by_name)
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("encoder.layers.0.")}
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name not in frozen)
    for name, group in by_name.items():
        linear = name.endswith(
            ("q.weight", "k.weight", "v.weight", "o.weight", "up.weight", "gate.weight", "down.weight")
        )
        assert group["linear"] == linear
        if name.startswith("encoder."):
            assert (group["lr_scale"], group["weight_decay"]) == (0.1, 0.5)
        else:
            assert group["lr_scale"] == (2 if name.endswith(".bias") else 1)
            assert group["weight_decay"] == (0.01 if linear else 0.0)


def test_the_rate_falls_from_layer_to_layer() -> None:
    by_name = found(network(), layer_decay=0.5, groups=[{"match": "encoder.layers.2.*", "lr_scale": 3.0}])
    scales = {name: group["lr_scale"] for name, group in by_name.items()}
    for layer, scale in enumerate([0.25, 0.5, 3.0]):
        assert scales[f"encoder.layers.{layer}.mixer.q.weight"] == scale
    assert [scales[f"decoder.layers.{layer}.cross.q.weight"] for layer in (0, 1)] == [0.5, 1.0]
    assert scales["source.table.weight"] == scales["target.table.weight"] == 0.125
    assert scales["encoder.final.weight"] == scales["decoder.final.weight"] == 1.0
    rule = next(name for name in scales if name.startswith("decoder.rules."))
    assert scales[rule] == 0.5


def test_the_loop_scales_each_group(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"schedule": "linear", "groups": [{"match": "decoder.*", "lr_scale": 0.1}]}
    made = make_loop(tmp_path / "run", optimizer={"muon": {"adamw_lr": 3e-4}}, lr=3e-3, max_steps=30, **settings)
    for _ in range(9):
        made.step()
    rate = made.parts.schedule(9)
    assert 0 < rate < 3e-3
    seen = {(group["linear"], round(group["lr"] / rate, 6)) for group in made.parts.optimizer.param_groups}
    assert seen == {(True, 1.0), (True, 0.1), (False, 0.1), (False, 0.01)}


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "schedule_free", "adafactor"])
def test_frozen_weights_are_bit_equal_and_resume_is_exact(tmp_path: Path, optimizer: str) -> None:
    groups = [{"match": "encoder.*", "freeze": True}, {"match": "*.table.*", "lr_scale": 0.1, "weight_decay": 0.1}]
    settings: dict[str, Any] = {"optimizer": optimizer, "groups": groups, "layer_decay": 0.8, "ema": 0.9}
    whole = make_loop(tmp_path / "whole", max_steps=12, **settings)
    before = {name: parameter.detach().clone() for name, parameter in whole.network.named_parameters()}
    whole.run()
    for name, parameter in whole.network.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("encoder."), name
        assert not name.startswith("encoder.") or parameter.grad is None
    for end in (5, 12):
        part = make_loop(tmp_path / "parts", max_steps=end, **settings)
        part.resume()
        part.run()
    assert same(whole, part)


def test_a_pattern_for_nothing_shows_the_nearest_names() -> None:
    with pytest.raises(SettingError) as caught:
        found(network(), groups=[{"match": "*"}, {"match": "encoder.layer.0.*"}])
    assert "`training.groups.1.match` must match the name of a parameter, but `encoder.layer.0.*`" in str(caught.value)
    assert "encoder.layers.0" in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_left_to_learn_is_an_error() -> None:
    with pytest.raises(SettingError, match="freezes every parameter"):
        build_optimizer(network(), TrainingConfig(groups=({"match": "*", "freeze": True},)))  # type: ignore[arg-type]
