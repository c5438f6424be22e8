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

from antiphon.batch import Batch
from antiphon.config import TrainingConfig
from antiphon.distributed.world import World
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import LossSum
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
        self.replica.register_comm_hook(None, sum_gradients)
        self.forward = self.computed
        self._reducing = False  # whether the backward pass has begun that sends gradients to the other ranks

    def share(self, count: int) -> list[int | None]:
        return list(range(self.world.rank, count, self.world.size)) or [None]

    @property
    def repeatable(self) -> bool:
        return not self._reducing

    def computed(self, batch: Batch, criterion: Any) -> LossSum:
        """The loss of a batch."""
        found = self.replica(batch, criterion)
        if self.replica.require_backward_grad_sync:
            found.objective.register_hook(self._begin_reduction)
        return found

    def _begin_reduction(self, gradient: Tensor) -> None:
        self._reducing = True

    def synchronizing(self, *, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.replica.no_sync()

    def drop_unused(self, *, step: int, count: int) -> None:
        self._reducing = False
        leave_unused(self.network, seed=self.settings.seed, step=step, count=count)


def sum_gradients(_: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Sum a bucket of gradients over the ranks. The default hook takes the mean."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])


# DDP compares the annotations of a hook with these types, not with their names.
sum_gradients.__annotations__ = get_type_hints(sum_gradients)
