"""The processes of one job, called ranks, and what they exchange, over `torch.distributed`.

    with process_group(device) as world:        # a launcher such as torchrun has started this process; else one rank
        total = world.sum(torch.tensor([loss], dtype=torch.float64))
        if world.main:
            ...

`current_world()` is the world of this process: one rank where there is no process group. Every method below is a
collective: all ranks must call it, in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from antiphon.distributed.failure import restarts
from antiphon.errors import WorkError, one_line

T = TypeVar("T")
TIMEOUT = timedelta(hours=1)  # of one collective: the other ranks wait while rank 0 trains tokenizers or measures
LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun and by other launchers


@dataclass(frozen=True, slots=True)
class World:
    """This process among the `size` processes of a job: its `rank` from 0, and the same within its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is rank 0, which alone writes files and the display."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all ranks, with the same bits on each; `tensor` is not changed."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def gather(self, value: T) -> list[T]:
        """The `value` of every rank, in order of the ranks, on every rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def broadcast(self, value: T, source: int = 0) -> T:
        """The `value` of rank `source`, on every rank."""
        if self.size == 1:
            return value
        held: list[Any] = [value if self.rank == source else None]
        dist.broadcast_object_list(held, src=source)
        return held[0]

    def copy(self, tensors: Iterable[Tensor], source: int = 0) -> None:
        """Overwrite `tensors` by those of rank `source`. They have the same shapes and types on every rank."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=source)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier()


def launched() -> bool:
    """Whether a launcher of several processes, such as torchrun, has started this one."""
    return all(os.environ.get(name) for name in LAUNCHED)


def current_world() -> World:
    """The world of this process; one rank where there is no process group."""
    if not (dist.is_available() and dist.is_initialized()):
        return World()
    rank, size = dist.get_rank(), dist.get_world_size()
    return World(rank, size, int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", size)))


def _own_store() -> dict[str, Any]:
    """The store and the rank of this process where torchrun has started it again, else nothing.

    torchrun's agent holds one store for all starts (`--rdzv-backend c10d` and `--standalone`). There the ranks would
    find the addresses of those before them, and wait for processes that have ended. So each start has names of its own.
    """
    if not restarts() or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.PrefixStore(f"start-{restarts()}", dist.TCPStore(address, port, is_master=False, timeout=TIMEOUT))
    return {"store": store, "rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}


def rank_device(device: torch.device) -> torch.device:
    """The GPU of this rank, if `device` is a GPU without a number and a launcher has started several ranks."""
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


@contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """The context in which the ranks of a launcher are connected: by gloo on a CPU, by NCCL between GPUs.

    A process group that exists, such as that of Ray Train, is used and not ended. WorkError if the ranks cannot be
    connected.
    """
    if dist.is_initialized() or not launched():
        yield current_world()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=TIMEOUT, **_own_store())
    except (RuntimeError, ValueError, OSError) as error:  # DistNetworkError is a RuntimeError
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise WorkError(
            f"rank {os.environ['RANK']} cannot be connected with the {os.environ['WORLD_SIZE']} ranks of the job at "
            f"{where} ({one_line(error)}). Check that this address can be reached from every machine."
        ) from error
    try:
        yield current_world()
    finally:
        dist.destroy_process_group()
