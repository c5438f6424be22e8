"""What the ranks of a job tell each other while they write a snapshot together, beside the training."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch.distributed as dist

TIMEOUT = timedelta(minutes=30)  # of one exchange: a rank waits while another one writes its files


class RankExchange:
    """Exchanges small values between all ranks, from any thread. Made by all ranks at the same time.

    It has a process group of its own, so that it may run while the training uses another one.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._group = dist.new_group(backend="gloo", timeout=TIMEOUT)

    def gather(self, value: Any) -> list[Any]:
        """The value of every rank, in order, on every rank. RuntimeError if a rank is lost."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self._group)
        return found
