"""Snapshots between worlds: saved by one process, DDP or FSDP2, loaded by each other, with the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training.runs import make_loop
from worlds import run_world

from antiphon.distributed.world import current_world
from antiphon.models.folders.checkpoint import learned_weights
from antiphon.training.evaluated import EvaluationWeights
from antiphon.training.loop import Loop
from antiphon.training.optim import build_optimizer
from antiphon.training.resume import TrainState, load_snapshot, save_snapshot, snapshot_weights
from antiphon.training.saving.files import damage
from antiphon.training.saving.optimizer_state import split_optimizer
from antiphon.training.snapshot import SnapshotStore

SETTINGS: dict[str, Any] = {"ema": 0.9, "max_steps": 3, "save_every_steps": 3, "keep_last": 9}


def state_of(folder: Path, *, sharded: bool) -> tuple[Loop, TrainState]:
    """A run of this rank, whose network is sharded over all ranks or not."""
    torch.manual_seed(current_world().rank)  # what the ranks have in common comes from the snapshot
    loop = make_loop(folder, **SETTINGS)
    now = replace(loop.now, world=current_world())
    if sharded:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (current_world().size,))
        network: nn.Module = loop.network
        for layer in (*network.encoder.layers, *network.decoder.layers):
            fully_shard(layer, mesh=mesh)
        fully_shard(network, mesh=mesh)
        optimizer = build_optimizer(network, loop.settings)
        now = replace(
            now, network=network, optimizer=optimizer, evaluated=EvaluationWeights(network, optimizer, decay=0.9)
        )
    return loop, now


def everything(now: TrainState) -> dict[str, Tensor]:
    """All tensors of the state, whole."""
    weights, evaluated = learned_weights(now.network), now.evaluated.weights()
    found = {**{f"weights.{name}": each for name, each in weights.items()}, **split_optimizer(now.optimizer, now.network)[0]}
    found |= {f"evaluated.{name}": each for name, each in evaluated.items()}
    return {name: each.full_tensor() if hasattr(each, "full_tensor") else each.detach() for name, each in found.items()}


def pass_on(source: Path, target: Path, sharded: bool) -> dict[str, Tensor]:
    """Load the newest snapshot of `source`, and save what was loaded to `target`."""
    world = current_world()
    folder = target if world.main else target.with_name(f"{target.name}-{world.rank}")
    _, now = state_of(folder, sharded=sharded)
    snapshot = SnapshotStore(source / "snapshots", keep=None).newest(world)
    assert snapshot is not None
    load_snapshot(snapshot, now)
    store = SnapshotStore(target / "snapshots", keep=None)
    save_snapshot(store, now)
    store.wait()
    return everything(now)


def test_any_world_loads_the_snapshot_of_any_other(tmp_path: Path) -> None:
    loop, now = state_of(tmp_path / "first", sharded=False)
    loop.run()
    wanted = everything(now)
    assert any(".exp_avg" in name for name in wanted)
    way: list[tuple[int, bool]] = [(2, True), (3, True), (2, False), (3, True), (2, True), (1, False)]
    source = tmp_path / "first"
    for number, (size, sharded) in enumerate(way):
        target = tmp_path / f"{number}-{size}-{'fsdp' if sharded else 'ddp'}"
        for found in run_world(size, pass_on, source, target, sharded):
            assert found.keys() == wanted.keys()
            for name, tensor in wanted.items():
                assert torch.equal(found[name], tensor), (target.name, name)
        folder = target / "snapshots" / "step-3"
        names = sorted(path.name for path in folder.iterdir())
        shards = [f"shard-{rank + 1:05}-of-{size:05}.safetensors" for rank in range(size)]
        whole = ["evaluated.safetensors", "optimizer.safetensors", "weights.safetensors"]
        assert names == sorted(["manifest.json", "state.json", *(shards if sharded else whole)])
        assert damage(folder) is None
        source = target
