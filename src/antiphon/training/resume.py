"""What a snapshot of a run holds, written and read back.

Weights, optimizer, data position, counters, lengths of the log files, and the machine.
"""

from __future__ import annotations

import json
import platform
from typing import Any, Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from antiphon.models.checkpoint import named_weights, put_weights
from antiphon.training.progress import Progress
from antiphon.training.record import Record
from antiphon.training.snapshot import Snapshot, SnapshotStore

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


class Position(Protocol):
    """A data stream's place."""

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


def save_snapshot(
    store: SnapshotStore,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Position,
    progress: Progress,
    record: Record,
) -> Snapshot:
    """Write all that the next step depends on."""
    tensors, plain = split_optimizer(optimizer)
    state = {
        "progress": progress.state(),
        "batches": batches.state(),
        "optimizer": plain,
        "record": record.offsets(),
        "machine": machine(),
    }
    return store.save(
        progress.step,
        {
            WEIGHTS: save({name: tensor.contiguous().cpu() for name, tensor in named_weights(network).items()}),
            OPTIMIZER: save(tensors),
            STATE: json.dumps(state, indent=1).encode(),
        },
    )


def load_snapshot(
    snapshot: Snapshot,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Position,
    progress: Progress,
    record: Record,
) -> None:
    """Put a run back to where `snapshot` was taken.

    A line is said where the machine is another, since sums may then differ in the last bits.
    """
    state = json.loads(snapshot.read(STATE))
    with torch.no_grad():
        put_weights(network, load(snapshot.read(WEIGHTS)), where=str(snapshot.folder / WEIGHTS))
    join_optimizer(optimizer, load(snapshot.read(OPTIMIZER)), state["optimizer"])
    batches.restore(state["batches"])
    progress.restore(state["progress"])
    record.cut(state["record"])
    here = machine()
    changed = [
        f"{name} was {was}, is {here.get(name)}" for name, was in state["machine"].items() if here.get(name) != was
    ]
    record.say(
        f"continuing at step {progress.step}"
        + (f"; not bit by bit the same machine: {', '.join(changed)}" if changed else "")
    )


def split_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors, named `number.key`, and what JSON can hold."""
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
    """What the last bits of a sum depend on."""
    return {"torch": torch.__version__, "processor": platform.machine(), "threads": torch.get_num_threads()}
