"""The content of a run's snapshots: saving and restoring.

A snapshot holds the weights, the evaluation weights if they differ, the optimizer, the position in the data, counters,
lengths of the log files, and a description of the machine. The reference weights of mixout are written once, to
`start.safetensors` in the run folder; each snapshot holds their hash.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from antiphon.errors import DiskError, ModelError, argument
from antiphon.models.folders.checkpoint import learned_weights, put_learned_weights, replace_file
from antiphon.nn.mixout import put_references, references
from antiphon.training.evaluated import EvaluationWeights
from antiphon.training.objectives.distillation import Distillation
from antiphon.training.progress import Progress
from antiphon.training.reporting.record import RunLog
from antiphon.training.snapshot import Snapshot, SnapshotStore

WEIGHTS, EVALUATED, OPTIMIZER, STATE = (
    "weights.safetensors", "evaluated.safetensors", "optimizer.safetensors", "state.json",
)  # fmt: skip
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


def save_snapshot(store: SnapshotStore, now: TrainState) -> Snapshot:
    """Save the state of training as a snapshot."""
    tensors, plain = split_optimizer(now.optimizer)
    state = {
        "progress": now.progress.state(),
        "batches": now.batches.state(),
        "optimizer": plain,
        "record": now.record.offsets(),
        "machine": machine(),
        "start": _digest(references(now.network)),
        "teacher": None if now.distillation is None else now.distillation.digest,
    }
    files = {WEIGHTS: weights_file(learned_weights(now.network)), OPTIMIZER: save(tensors)}
    if now.evaluated.differ:
        files[EVALUATED] = weights_file(now.evaluated.weights())
    return store.save(now.progress.step, {**files, STATE: json.dumps(state, indent=1).encode()})


def load_snapshot(snapshot: Snapshot, now: TrainState) -> None:
    """Restore the state of training from `snapshot`.

    Reports if the machine differs: floating-point sums may then differ in the last bits.
    """
    state = json.loads(snapshot.read(STATE))
    if now.distillation is not None:
        now.distillation.refuse_another(state.get("teacher"))
    with torch.no_grad():
        put_learned_weights(now.network, load(snapshot.read(WEIGHTS)), where=str(snapshot.folder / WEIGHTS))
    if now.evaluated.differ:
        now.evaluated.restore(load(snapshot.read(EVALUATED)))
    join_optimizer(now.optimizer, load(snapshot.read(OPTIMIZER)), state["optimizer"])
    load_start(now.record.folder, now.network, state.get("start"))
    now.batches.restore(state["batches"])
    now.progress.restore(state["progress"])
    now.record.cut(state["record"])
    here = machine()
    changed = [
        f"{name} was {was}, is {here.get(name)}" for name, was in state["machine"].items() if here.get(name) != was
    ]
    now.record.say(
        f"continuing at step {now.progress.step}"
        + (f"; not bit by bit the same machine: {', '.join(changed)}" if changed else "")
    )


def save_start(folder: Path, network: nn.Module) -> None:
    """Write the reference weights of mixout, if any, to the run folder."""
    if not (weights := references(network)):
        return
    try:
        replace_file(folder / START, weights_file(weights))
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


def weights_file(weights: Mapping[str, Tensor]) -> bytes:
    """The content of a safetensors file."""
    return save({name: tensor.contiguous().cpu() for name, tensor in weights.items()})


def _digest(weights: dict[str, Tensor]) -> str | None:
    """A hash of the reference weights; None if there are none."""
    return hashlib.sha256(weights_file(weights)).hexdigest() if weights else None


def split_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors, named `number.key`, and the rest as JSON values."""
    content = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for number, entries in content["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{key}"] = value.contiguous().cpu()
            else:
                values.setdefault(str(number), {})[key] = value
    return tensors, {"values": values, "groups": content["param_groups"]}


def join_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """The inverse of `split_optimizer`."""
    state: dict[int, dict[str, Any]] = {int(number): dict(entries) for number, entries in plain["values"].items()}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})


def machine() -> dict[str, Any]:
    """The properties of the machine on which the last bits of a sum depend."""
    return {"torch": torch.__version__, "processor": platform.machine(), "threads": torch.get_num_threads()}
