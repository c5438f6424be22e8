"""Evaluation weights that differ from the trained ones: their exponential moving average (EMA), or the averaged weights
of an optimizer such as schedule-free.

    evaluated = EvaluationWeights(network, optimizer, decay=0.999)
    evaluated.update(step)              # after each step, counted from 1
    with evaluated.applied():           # the network has these weights; afterwards the trained ones, bit by bit
        validate(network)

The EMA is bias-corrected as in Adam (Kingma and Ba 2015, section 3): after t steps the weights of step i count
(1 − d)·d^(t−i) / (1 − d^t), and the initial weights count nothing. A skipped step (non-finite gradient) counts the
unchanged weights once more. With schedule-free, its evaluation weights are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from antiphon.models.folders.checkpoint import learned_weights
from antiphon.training.parallel.shards import local


@runtime_checkable
class SwitchingOptimizer(Protocol):
    """An optimizer with different weights for evaluation and for training."""

    def train(self) -> None: ...
    def eval(self) -> None: ...


class EvaluationWeights:
    """The evaluation weights of `network`. `decay` is that of the moving average; 0: none."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, *, decay: float) -> None:
        self.network, self.decay = network, decay
        self.switching = optimizer if isinstance(optimizer, SwitchingOptimizer) else None
        if self.switching is not None:
            self.switching.train()
        self.average: dict[str, Tensor] = {}

    @property
    def differ(self) -> bool:
        """Whether the evaluation weights differ from the trained ones."""
        return self.decay > 0 or self.switching is not None

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after step `step`, from 1, to the average."""
        if not self.decay:
            return
        with self._switched():
            weights = _floating(self.network)
            if not self.average:
                self.average = {name: tensor.clone() for name, tensor in weights.items()}
                return
            share = (1 - self.decay) / (1 - self.decay**step)
            torch._foreach_lerp_(
                [local(each) for each in self.average.values()], [*map(local, weights.values())], share
            )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the network has the evaluation weights; afterwards the trained ones, bit by bit."""
        with self._switched():
            if not self.average:
                yield
                return
            trained = _copies(self.network)
            _put(self.network, self.average)
            try:
                yield
            finally:
                _put(self.network, trained)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the evaluation weights, as saved in a model folder; empty if they are the trained ones."""
        if not self.differ:
            return {}
        with self.applied():
            return {name: tensor.detach().clone() for name, tensor in learned_weights(self.network).items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """The inverse of `weights`, for a resumed run."""
        if self.decay:
            self.average = {name: weights[name].to(tensor.device) for name, tensor in _floating(self.network).items()}

    @contextmanager
    def _switched(self) -> Iterator[None]:
        """Switch the optimizer to its evaluation weights. Switching back is inexact arithmetic, so we restore
        copies."""
        if self.switching is None:
            yield
            return
        trained = _copies(self.network)
        self.switching.eval()
        try:
            yield
        finally:
            self.switching.train()
            _put(self.network, trained)


def _floating(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in learned_weights(network).items() if tensor.is_floating_point()}


def _copies(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in _floating(network).items()}


@torch.no_grad()
def _put(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in _floating(network).items():
        tensor.copy_(weights[name])
