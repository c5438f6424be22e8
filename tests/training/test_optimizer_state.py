"""The state of an optimizer goes by the names of parameters; that of older snapshots, by number, is read too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from training.runs import make_loop, same

from antiphon.errors import ModelError
from antiphon.training.resume import STATE
from antiphon.training.saving.optimizer_state import join_optimizer, split_optimizer
from antiphon.training.snapshot import SnapshotStore


def by_number(folder: Path, step: int) -> None:
    """Rewrite a snapshot as it was before: parameters by their number in the optimizer."""
    source = folder / "snapshots" / f"step-{step}"
    files = {path.name: path.read_bytes() for path in source.iterdir() if path.name != "manifest.json"}
    state = json.loads(files[STATE])
    names = [name for group in state["optimizer"]["groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    groups = [
        {**group, "params": [numbers[name] for name in group["params"]]} for group in state["optimizer"]["groups"]
    ]
    values = {str(numbers[name]): entries for name, entries in state["optimizer"]["values"].items()}
    del state["world"]
    tensors = {}
    for full, tensor in load(files["optimizer.safetensors"]).items():
        name, _, key = full.rpartition(".")
        tensors[f"{numbers[name]}.{key}"] = tensor
    files |= {
        "optimizer.safetensors": save(tensors),
        STATE: json.dumps({**state, "optimizer": {"values": values, "groups": groups}}).encode(),
    }
    SnapshotStore(folder / "snapshots", keep=None).save(step, files)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "schedule_free"])
def test_a_run_goes_on_from_names_and_from_numbers(tmp_path: Path, optimizer: str) -> None:
    settings: dict[str, Any] = {"optimizer": optimizer, "save_every_steps": 2}
    whole = make_loop(tmp_path / "whole", max_steps=4, **settings)
    whole.run()
    for way in ("names", "numbers"):
        make_loop(tmp_path / way, max_steps=2, **settings).run()
        if way == "numbers":
            by_number(tmp_path / way, 2)
        resumed = make_loop(tmp_path / way, max_steps=4, **settings)
        assert resumed.resume()
        resumed.run()
        assert same(whole, resumed), way


def test_a_shared_table_has_one_state(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", max_steps=1)
    made.run()
    tensors, plain = split_optimizer(made.parts.optimizer, made.network)
    names = [name for group in plain["groups"] for name in group["params"]]
    assert sorted(names) == sorted(name for name, _ in made.network.named_parameters())
    tables = [name for name, _ in made.network.named_parameters(remove_duplicate=False) if name.endswith("weight")]
    tables = [name for name in tables if ".table." in name or name.startswith("output")]
    assert len(tables) == 3 and [name for name in names if name in tables] == tables[:1]  # source, target and output
    assert {name.rpartition(".")[0] for name in tensors} == {*names}


def test_the_order_of_parameters_may_differ(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", max_steps=1)
    made.run()
    tensors, plain = split_optimizer(made.parts.optimizer, made.network)
    turned = [
        {**group, "params": list(reversed(group["params"]))} for group in reversed(made.parts.optimizer.param_groups)
    ]
    other = torch.optim.AdamW(turned, lr=1.0)
    join_optimizer(other, made.network, tensors, plain)
    again, settings = split_optimizer(other, made.network)
    assert again.keys() == tensors.keys() and all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert {tuple(sorted(group["params"])): group["weight_decay"] for group in settings["groups"]} == {
        tuple(sorted(group["params"])): group["weight_decay"] for group in plain["groups"]
    }


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", max_steps=1)
    made.run()
    tensors, plain = split_optimizer(made.parts.optimizer, made.network)
    with pytest.raises(ModelError, match=r"has the optimizer state of `another.weight`, which this run does not train"):
        join_optimizer(made.parts.optimizer, made.network, {**tensors, "another.weight.exp_avg": torch.ones(1)}, plain)
    first = plain["groups"][0]["params"][0]
    less = [{**group, "params": [name for name in group["params"] if name != first]} for group in plain["groups"]]
    with pytest.raises(ModelError, match=f"lacks the optimizer's settings for `{first}`"):
        join_optimizer(made.parts.optimizer, made.network, tensors, {**plain, "groups": less})
    parameter = made.parts.optimizer.param_groups[0]["params"][0]
    made.parts.optimizer.state[parameter]["odd"] = [torch.ones(1)]
    with pytest.raises(ModelError, match=r"the state `odd` of the optimizer must be a tensor or a JSON value"):
        split_optimizer(made.parts.optimizer, made.network)
