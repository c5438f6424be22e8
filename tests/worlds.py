"""Worlds of a few processes over gloo, forked from the test: no second import of PyTorch.

results = run_world(2, function, folder)        # [function(folder) of rank 0, of rank 1]
"""

from __future__ import annotations

import multiprocessing
import pickle
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from counts import MODE

SECONDS = 120.0 if MODE == "test" else 7200.0  # full counts are many runs in one world


def run_world(
    size: int, function: Callable[..., Any], *arguments: Any, survivors: Sequence[int] | None = None
) -> list[Any]:
    """What `function` returns on each rank of a world of `size` processes, or on the `survivors` if others end early.

    AssertionError with the trace of a failure.
    """
    import torch._dynamo  # every optimizer imports it
    import torch.distributed.checkpoint
    import torch.distributed.fsdp
    import torch.distributed.tensor  # noqa: F401  (imported once, before the fork)

    fork = multiprocessing.get_context("fork")
    with TemporaryDirectory() as folder:
        ends = [fork.Pipe(duplex=False) for _ in range(size)]
        processes = [
            fork.Process(
                target=_rank, args=(rank, size, f"file://{folder}/meeting", ends[rank][1], function, arguments)
            )
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        for _, sender in ends:
            sender.close()
        try:
            found = [_received(ends[rank][0]) for rank in (range(size) if survivors is None else survivors)]
        finally:
            for process in processes:
                process.join(10)
                process.kill()
    faults = [trace for trace, _ in found if trace]
    assert not faults, "\n".join(faults)
    return [value for _, value in found]


def _received(receiver: Connection) -> tuple[str, Any]:
    if not receiver.poll(SECONDS):
        return f"no answer within {SECONDS:g} seconds", None
    try:
        return pickle.loads(receiver.recv_bytes())
    except EOFError:
        return "the process was killed", None


def _rank(
    rank: int, size: int, meeting: str, sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
        value = function(*arguments)
        sender.send_bytes(pickle.dumps(("", value)))  # not `send`, which shares the memory of tensors
    except BaseException:
        sender.send_bytes(pickle.dumps((traceback.format_exc(), None)))
        raise
    finally:
        sender.close()
        if dist.is_initialized():
            dist.destroy_process_group()
