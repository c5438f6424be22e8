"""The content of a run's snapshots: saving and restoring.

A snapshot holds the weights, the evaluation weights if they differ, the optimizer, the position in the data, counters,
lengths of the log files, and a description of the machine. The reference weights of mixout are written once, to
`start.safetensors` in the run folder; each snapshot holds their hash.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from antiphon.distributed.world import World, current_world
from antiphon.errors import DiskError, ModelError, argument
from antiphon.models.folders.checkpoint import check_fit, learned_weights, save_weights
from antiphon.nn.mixout import put_references, references
from antiphon.training.evaluated import EvaluationWeights
from antiphon.training.objectives.distillation import Distillation
from antiphon.training.progress import Progress
from antiphon.training.reporting.record import RunLog
from antiphon.training.saving.optimizer_state import OptimizerNames, join_optimizer, split_optimizer
from antiphon.training.saving.stored import StoredTensors, is_sharded, saved_bytes, snapshot_files
from antiphon.training.saving.tensor_file import Buffers
from antiphon.training.snapshot import Snapshot, SnapshotStore

WEIGHTS, STATE = "weights.safetensors", "state.json"
START = "start.safetensors"


class StreamPosition(Protocol):
    """A data stream whose position can be saved and restored."""

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class TrainState:
    """Everything that the next step depends on, and the log."""

    network: nn.Module
    evaluated: EvaluationWeights
    optimizer: torch.optim.Optimizer
    batches: StreamPosition
    progress: Progress
    record: RunLog
    distillation: Distillation | None = None
    world: World = field(default_factory=current_world)


def save_snapshot(store: SnapshotStore, now: TrainState, *, then: Callable[[], object] = lambda: None) -> None:
    """Copy the state of training, and write it as a snapshot beside the training; then call `then`.

    All ranks call this. Waits for the snapshot before it; DiskError if that could not be written. The end of this one
    is `store.wait()`.
    """
    store.wait()  # before the copies: no more than one snapshot is in memory
    kinds, plain = _tensors(now)
    state = {
        "progress": now.progress.state(),
        "batches": now.batches.state(),
        "optimizer": plain,
        "record": now.record.offsets(),
        "machine": machine(),
        "world": now.world.size,
        "start": _digest(references(now.network)),
        "teacher": None if now.distillation is None else now.distillation.digest,
    }
    files: dict[str, bytes | Buffers] = {**snapshot_files(kinds, now.world)}
    if now.world.main:
        now.record.sync()
        files[STATE] = json.dumps(state, indent=1).encode()
    store.start(now.progress.step, files, ranks=store.ranks(now.world), then=then)


def snapshot_bytes(now: TrainState) -> int:
    """The size of a snapshot of the present state. An optimizer has its whole state after the first step."""
    weights = learned_weights(now.network)
    kinds = {"weights": weights, "optimizer": split_optimizer(now.optimizer, now.network)[0]}
    return saved_bytes(kinds | ({"evaluated": weights} if now.evaluated.differ else {}))


def _tensors(now: TrainState) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors of a snapshot by kind, and the rest of the optimizer's state."""
    tensors, plain = split_optimizer(now.optimizer, now.network)
    kinds = {"weights": learned_weights(now.network), "optimizer": tensors}
    if now.evaluated.differ:
        kinds["evaluated"] = now.evaluated.weights()
    return kinds, plain


def load_snapshot(snapshot: Snapshot, now: TrainState) -> None:
    """Restore the state of training from `snapshot`, which any number of ranks may have saved. All ranks call this.

    Reports if the machine differs: floating-point sums may then differ in the last bits. ModelError if the snapshot
    does not fit the run.
    """
    state = json.loads(snapshot.read(STATE))
    if now.distillation is not None:
        now.distillation.refuse_another(state.get("teacher"))
    own = learned_weights(now.network)
    _fill(own, snapshot, "weights")
    if now.evaluated.differ:
        evaluated = {name: torch.empty_like(tensor) for name, tensor in own.items()}
        _fill(evaluated, snapshot, "evaluated")
        now.evaluated.restore(evaluated)
    _load_optimizer(snapshot, now, state["optimizer"])
    load_start(now.record.folder, now.network, state.get("start"))
    now.batches.restore(state["batches"])
    now.progress.restore(state["progress"])
    if now.world.main:
        now.record.cut(state["record"])
    here = {**machine(), "ranks": now.world.size}
    before = {**state["machine"], "ranks": state.get("world", 1)}
    changed = [f"{name} was {was}, is {here.get(name)}" for name, was in before.items() if here.get(name) != was]
    now.record.say(
        f"continuing at step {now.progress.step}"
        + (f"; not bit by bit the same machine: {', '.join(changed)}" if changed else "")
    )


def snapshot_weights(snapshot: Snapshot) -> dict[str, Tensor]:
    """The weights for evaluation in a snapshot of any world, whole, on the CPU."""
    evaluated = StoredTensors(snapshot.folder, "evaluated")
    return evaluated.read() if evaluated.shapes else StoredTensors(snapshot.folder, "weights").read()


def _fill(targets: Mapping[str, Tensor], snapshot: Snapshot, kind: str) -> None:
    stored = StoredTensors(snapshot.folder, kind)
    check_fit(targets, stored.shapes, where=stored.where)
    stored.fill(targets)


def _load_optimizer(snapshot: Snapshot, now: TrainState, plain: dict[str, Any]) -> None:
    """Read the optimizer's tensors, each sharded as its parameter is, and load them."""
    stored = StoredTensors(snapshot.folder, "optimizer")
    known = OptimizerNames(now.optimizer, now.network)
    targets = {}
    for name, shape in stored.shapes.items():
        parameter, dtype = known.parameters[known.split(name)[0]], stored.dtypes[name]
        alike = tuple(parameter.shape) == shape and is_sharded(parameter)
        targets[name] = torch.empty_like(parameter, dtype=dtype) if alike else torch.empty(shape, dtype=dtype)
    stored.fill(targets)
    join_optimizer(now.optimizer, now.network, targets, plain)


def save_start(folder: Path, network: nn.Module) -> None:
    """Write the reference weights of mixout, if any, to the run folder."""
    if not (weights := references(network)):
        return
    try:
        save_weights(folder / START, weights)
    except OSError as error:
        raise DiskError(
            f"the weights that the run begins with cannot be written to `{folder / START}` "
            f"({error.strerror or error}). Free space, then continue with "
            f"{argument('resume=True', flag='--resume')}."
        ) from error


def load_start(folder: Path, network: nn.Module, digest: str | None) -> None:
    """Restore the reference weights of mixout. ModelError if their hash is not `digest`, from the snapshot."""
    if not references(network):
        return
    try:
        weights = load((folder / START).read_bytes())
    except (OSError, SafetensorError):
        weights = {}
    if _digest(weights) != digest:
        raise ModelError(
            f"`{folder / START}` must hold the initial weights of the run, the reference of mixout, but is "
            "missing or damaged. Start a new run."
        )
    put_references(network, weights)


def _digest(weights: dict[str, Tensor]) -> str | None:
    """A hash of the reference weights; None if there are none."""
    if not weights:
        return None
    return hashlib.sha256(save({name: tensor.contiguous().cpu() for name, tensor in weights.items()})).hexdigest()


def machine() -> dict[str, Any]:
    """The properties of the machine on which the last bits of a sum depend."""
    return {"torch": torch.__version__, "processor": platform.machine(), "threads": torch.get_num_threads()}
