"""Snapshots between worlds: saved by one process, DDP or FSDP2, loaded by each other, with the same bits."""

from __future__ import annotations

import errno
import os
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from counts import count
from disk_log import DiskLog
from torch import Tensor, nn
from torture.figures import FigureRecorder
from training.runs import make_loop
from worlds import run_world

from antiphon.config import ModelConfig
from antiphon.distributed.world import current_world
from antiphon.errors import DiskError
from antiphon.models.folders.checkpoint import learned_weights
from antiphon.training.evaluated import EvaluationWeights
from antiphon.training.loop import Loop
from antiphon.training.optim import build_optimizer
from antiphon.training.parallel.shards import whole
from antiphon.training.resume import TrainState, load_snapshot, save_snapshot
from antiphon.training.saving.files import damage
from antiphon.training.saving.stored import StoredTensors
from antiphon.training.saving.tensor_file import tensor_file
from antiphon.training.snapshot import SnapshotStore

MODEL = ModelConfig(preset="tiny", encoder_layers=1, decoder_layers=2, d_model=16, ffn_dim=24, num_heads=2)
SETTINGS: dict[str, Any] = {"model": MODEL, "ema": 0.9, "max_steps": 3, "save_every_steps": 3, "keep_last": 9}


def state_of(folder: Path, *, sharded: bool, hybrid: bool = False) -> tuple[Loop, TrainState]:
    """A run of this rank, whose network is sharded over all ranks, repeated on all (`hybrid`), or neither."""
    torch.manual_seed(current_world().rank)  # what the ranks have in common comes from the snapshot
    loop = make_loop(folder, **SETTINGS)
    now = replace(loop.now, world=current_world())
    if sharded:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        size = current_world().size
        shape, names = ((size, 1), ("repeat", "shard")) if hybrid else ((size,), ("shard",))
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
        network: nn.Module = loop.network
        for layer in (*network.encoder.layers, *network.decoder.layers):
            fully_shard(layer, mesh=mesh)
        fully_shard(network, mesh=mesh)
        optimizer = build_optimizer(network, loop.settings)
        now = replace(
            now, network=network, optimizer=optimizer, evaluated=EvaluationWeights(network, optimizer, decay=0.9)
        )
    return loop, now


def stored(folder: Path) -> dict[str, Tensor]:
    """All tensors of a snapshot folder, whole."""
    kinds = ("weights", "evaluated", "optimizer")
    return {f"{kind}.{name}": each for kind in kinds for name, each in StoredTensors(folder, kind).read().items()}


def pass_on(source: Path, target: Path, sharded: bool, hybrid: bool) -> dict[str, Tensor]:
    """Load the newest snapshot of `source`, and save what was loaded to `target`. Returns the weights, whole."""
    world = current_world()
    folder = target if world.main else target.with_name(f"{target.name}-{world.rank}")
    _, now = state_of(folder, sharded=sharded, hybrid=hybrid)
    snapshot = SnapshotStore(source / "snapshots", keep=None).newest(world)
    assert snapshot is not None
    load_snapshot(snapshot, now)
    store = SnapshotStore(target / "snapshots", keep=None)
    save_snapshot(store, now)
    store.wait()
    weights = learned_weights(now.network)
    return {name: whole(each) for name, each in weights.items()}


def read_as_the_page_says(folder: Path) -> Tensor:
    """What the Python of docs/snapshots.md reads, without Antiphon."""
    page = (Path(__file__).parents[2] / "docs" / "snapshots.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("32000, 512", "12, 16").replace("runs/base/snapshots/step-500", str(folder)), names)
    return names["weights"]["weights.source.table.weight"]


def test_any_world_loads_the_snapshot_of_any_other(tmp_path: Path, figures: FigureRecorder) -> None:
    loop, _ = state_of(tmp_path / "first", sharded=False)
    loop.run()
    wanted = stored(tmp_path / "first" / "snapshots" / "step-3")
    weights = learned_weights(loop.network)
    assert {f"weights.{name}" for name in weights} < wanted.keys()
    assert any(name.endswith(".exp_avg_sq") and tensor.any() for name, tensor in wanted.items())
    source = tmp_path / "first"
    ways = [(2, "fsdp"), (3, "fsdp"), (2, "ddp"), (2, "hybrid"), (3, "fsdp"), (1, "ddp")]
    for number, (size, way) in enumerate(ways):
        target, sharded = tmp_path / f"{number}-{size}-{way}", way != "ddp"
        for found in run_world(size, pass_on, source, target, sharded, way == "hybrid"):
            assert all(torch.equal(found[name], tensor) for name, tensor in weights.items()), target.name
        folder = target / "snapshots" / "step-3"
        found = stored(folder)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items()), target.name
        names = sorted(path.name for path in folder.iterdir())
        shards = [f"shard-{rank + 1:05}-of-{size:05}.safetensors" for rank in range(size)]
        whole = ["evaluated.safetensors", "optimizer.safetensors", "weights.safetensors"]
        assert names == sorted(["manifest.json", "state.json", *(shards if sharded else whole)])
        assert damage(folder) is None
        if sharded:
            assert torch.equal(read_as_the_page_says(folder), weights["source.table.weight"])
        source = target
        figures.add("changes of the world, all tensors bitwise equal", 1)


@pytest.mark.parametrize("kind", ["flip", "truncation"])
def test_damage_of_a_shard_is_found(tmp_path: Path, kind: str, figures: FigureRecorder) -> None:
    """As for whole tensors: the file is named, and the snapshot before is used."""
    lines: list[str] = []
    store = SnapshotStore(tmp_path, keep=3, say=lines.append)
    tensors = {"weights.a": torch.randn(40, 3), "optimizer.a.exp_avg": torch.randn(40, 3)}
    for step in (1, 2):
        shards = {
            f"shard-0000{rank + 1}-of-00002.safetensors": tensor_file(
                {name: each[20 * rank :][:20] for name, each in tensors.items()},
                offsets={name: [20 * rank, 0] for name in tensors},
            )
            for rank in (0, 1)
        }
        folder = store.save(step, {**shards, "state.json": b"{}"}).folder
    assert torch.equal(StoredTensors(folder, "weights").read()["a"], tensors["weights.a"])
    chance = random.Random(kind)
    files = sorted(folder.iterdir())
    for _ in range(count("snapshot_corruption")):
        file = chance.choice(files)
        whole = file.read_bytes()
        place = chance.randrange(len(whole))
        changed = bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :] if kind == "flip" else b""
        file.write_bytes(whole[:place] + changed)
        newest = store.newest()
        assert newest is not None and newest.step == 1 and file.name in lines[-1]
        file.write_bytes(whole)
        figures.add(f"{kind}s of shards found", 1)


def without_space(folder: Path, rank: int, sharded: bool) -> tuple[str, list[int], list[str]]:
    """Save twice; the second time one rank has no space. The message on this rank, and what is in the folder."""
    world = current_world()
    _, now = state_of(folder.with_name(f"run-{world.rank}"), sharded=sharded)
    store = SnapshotStore(folder / "snapshots", keep=2)
    said = ""
    for step in (1, 2, 3):
        now.progress.step = step
        full = step == 2 and world.rank == rank
        try:
            with DiskLog(folder.parent, before=_no_space if full else lambda number, kind: None):
                save_snapshot(store, now)
                store.wait()
        except DiskError as error:
            said += f"step {step}: {error}"
    newest = store.newest(world)
    assert newest is not None and newest.step == 3
    return said, store.steps(), sorted(path.name for path in store.folder.glob("tmp-*"))


def _no_space(number: int, kind: str) -> None:
    if kind == "write":
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("rank", "sharded"), [(1, True), (0, False)])
def test_a_rank_without_space_ends_the_save_on_all_ranks(tmp_path: Path, rank: int, sharded: bool) -> None:
    found = run_world(2, without_space, tmp_path / "run", rank, sharded)
    assert found[0] == found[1]
    said, steps, drafts = found[0]
    name = "shard-00002-of-00002" if sharded else "weights"
    assert (
        f"step 2: the snapshot of step 2 cannot be written to `{tmp_path / 'run' / 'snapshots'}` (rank {rank}, {name}"
        in said
    )
    assert "No space left on device). The last one kept is step 1. Free space, then continue with" in said
    assert said.count("step 2: ") == 1 and "\n" not in said and "step 3: " not in said
    assert steps == [1, 3] and drafts == []


def lost(folder: Path) -> str:
    """Rank 1 is killed while the ranks write a snapshot."""
    world = current_world()
    _, now = state_of(folder.with_name(f"run-{world.rank}"), sharded=True)
    store = SnapshotStore(folder / "snapshots", keep=2)
    save_snapshot(store, now)
    store.wait()
    now.progress.step = 5

    def kill(number: int, kind: str) -> None:
        if world.rank == 1 and kind == "fsync":
            os._exit(0)  # as a kill: nothing of Python runs any more

    said = ""
    with DiskLog(folder.parent, before=kill):
        save_snapshot(store, now)
        try:
            store.wait()
        except DiskError as error:
            said = str(error)
    newest = store.newest()
    assert newest is not None and newest.step == 0
    return said


def test_a_rank_that_is_lost_in_a_save_is_noticed(tmp_path: Path) -> None:
    (said,) = run_world(2, lost, tmp_path / "run", survivors=[0])
    assert (
        f"the snapshot of step 5 in `{tmp_path / 'run' / 'snapshots'}` is not complete: another rank is gone (" in said
    )
    assert said.endswith("). The last one kept is step 0. Continue with `resume=True`.") and "\n" not in said
