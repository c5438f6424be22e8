"""Data parallelism (DDP): each rank holds all weights, and gradients are summed over the ranks.

Li et al. 2020, PyTorch Distributed: Experiences on Accelerating Data Parallel Training. Buckets of gradients are
reduced while the backward pass of the last micro-batch still runs.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any, get_type_hints

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from antiphon.config import TrainingConfig
from antiphon.distributed.world import World
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.parallel.single import SingleProcess
from antiphon.training.parallel.skipped import leave_unused, use_skipped


class DataParallel(SingleProcess):
    """Trains `network` in place, with equal weights on all ranks. `unused`: some weights get no gradient."""

    kind = "ddp"

    def __init__(
        self, network: EncoderDecoder, settings: TrainingConfig, world: World, *, unused: bool = False
    ) -> None:
        super().__init__(network, settings, world)
        assert isinstance(self.forward, torch.nn.Module)
        use_skipped(network)
        with warnings.catch_warnings():
            # PyTorch 2.13 renames `broadcast_buffers`; the new name is unknown to 2.11.
            warnings.simplefilter("ignore", FutureWarning)
            self.replica = DistributedDataParallel(
                self.forward,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                broadcast_buffers=False,
                find_unused_parameters=unused,
                gradient_as_bucket_view=not unused,
            )
        self._reducing = False  # whether other ranks have a part of this step's gradients
        self.replica.register_comm_hook(self, sum_gradients)
        self.forward = self.replica

    def share(self, count: int) -> list[int | None]:
        return list(range(self.world.rank, count, self.world.size)) or [None]

    @property
    def repeatable(self) -> bool:
        return not self._reducing

    def note_reduction(self) -> None:
        """Note that a bucket of gradients of this step goes to the other ranks."""
        self._reducing = True

    def synchronizing(self, *, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.replica.no_sync()

    def drop_unused(self, *, step: int, count: int) -> None:
        self._reducing = False
        leave_unused(self.network, seed=self.settings.seed, step=step, count=count)


def sum_gradients(parallel: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Sum a bucket of gradients over the ranks. The default hook takes the mean."""
    assert isinstance(parallel, DataParallel)
    parallel.note_reduction()
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])


# DDP compares the annotations of a hook with these types, not with their names.
sum_gradients.__annotations__ = get_type_hints(sum_gradients)
