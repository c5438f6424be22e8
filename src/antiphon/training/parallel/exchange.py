"""What the ranks exchange once a step: one small sum in float64, after the backward pass.

It carries the losses, the square of the gradient's norm, the signals of each rank and the seconds of rank 0. So every
decision that follows (a step that is skipped, the end of the run, a stop) is the same on all ranks in the same step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor

from antiphon.distributed.world import World
from antiphon.nn.loss import LossSum
from antiphon.training.signals import StopSignal


class StepSums(NamedTuple):
    """The losses of this rank and, on several ranks, the sums of all: on the device, not read yet."""

    losses: Sequence[LossSum]
    total: Tensor | None
    square: Tensor


class StepExchange:
    """The exchange of each step between the ranks of `world`, and the clock of rank 0."""

    def __init__(self, world: World, stop: StopSignal, device: torch.device) -> None:
        self.world, self.stop, self.device = world, stop, device
        self._began = self._summed = 0.0
        self._late = 0.0  # seconds of the last step after its sum, which are added to the next step
        self._seconds = 0.0  # of this step, by the clock of rank 0

    def begin(self) -> None:
        """Start the clock of a step."""
        self._began = time.perf_counter()

    def sums(self, losses: Sequence[LossSum], square: Tensor) -> StepSums:
        """Sum `losses` and `square`, the share of the norm's square, over the ranks. Does not wait for the device."""
        if self.world.size == 1:
            return StepSums(losses, None, square)
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        objective = sum((loss.objective.detach().double() for loss in losses), zero)
        nll = sum((loss.nll.detach().double() for loss in losses), zero)
        self._summed = time.perf_counter()
        seconds = self._summed - self._began + self._late
        own = [*self.stop.flags(), seconds if self.world.main else 0.0]
        values = torch.tensor(own, dtype=torch.float64).to(self.device, non_blocking=True)
        total = self.world.sum(torch.cat([torch.stack([objective, nll, square.to(zero)]), values]))
        return StepSums(losses, total, total[2])

    def read(self, sums: StepSums, norm: Tensor) -> tuple[float, float, float]:
        """The objective, the negative log-likelihood and the gradient's norm. Waits for the device."""
        if sums.total is None:
            parts = [part.detach() for loss in sums.losses for part in (loss.objective, loss.nll)]
            first, *found = torch.stack([norm.to(parts[0]), *parts]).tolist()
            return reduce(add, found[::2], 0.0), reduce(add, found[1::2], 0.0), first
        size, objective, nll, _, *signals, seconds = torch.cat([norm.to(sums.total)[None], sums.total]).tolist()
        self.stop.agree(signals)
        self._seconds = seconds
        return objective, nll, size

    def end(self) -> float:
        """The seconds of the step, the same on all ranks."""
        if self.world.size == 1:
            return time.perf_counter() - self._began
        self._late = time.perf_counter() - self._summed
        return self._seconds
