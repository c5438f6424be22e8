"""The weights that are validated and kept, where they are not those that are trained: their moving average, or what an
optimizer such as schedule-free keeps beside them.

    evaluated = EvaluationWeights(network, optimizer, decay=0.999)
    evaluated.update(step)              # after each step, counted from 1
    with evaluated.shown():             # the network holds them; afterwards the trained ones, bit by bit
        validate(network)

The moving average is that of Adam's moments, corrected for its start (Kingma and Ba 2015, section 3): after t steps,
the weights of step i count (1 − d)·d^(t−i) / (1 − d^t); those before the first step count nothing. A step that was
refused counts the same weights once more. With schedule-free, what is averaged is what it would show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from antiphon.models.folders.checkpoint import learned_weights


@runtime_checkable
class SwitchingOptimizer(Protocol):
    """An optimizer with other weights for evaluation than for training."""

    def train(self) -> None: ...
    def eval(self) -> None: ...


class EvaluationWeights:
    """The weights of `network` that are validated; `decay` 0: no moving average."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, *, decay: float) -> None:
        self.network, self.decay = network, decay
        self.switching = optimizer if isinstance(optimizer, SwitchingOptimizer) else None
        if self.switching is not None:
            self.switching.train()
        self.average: dict[str, Tensor] = {}

    @property
    def differ(self) -> bool:
        """Whether they are other weights than those that are trained."""
        return self.decay > 0 or self.switching is not None

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Count the weights after step `step`, counted from 1."""
        if not self.decay:
            return
        with self._switched():
            weights = _floating(self.network)
            if not self.average:
                self.average = {name: tensor.clone() for name, tensor in weights.items()}
                return
            share = (1 - self.decay) / (1 - self.decay**step)
            torch._foreach_lerp_(list(self.average.values()), list(weights.values()), share)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network holds the evaluated weights within, and the trained ones, bit by bit, afterwards."""
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
        """A copy of the evaluated weights, all that a model folder holds; empty where they are the trained ones."""
        if not self.differ:
            return {}
        with self.shown():
            return {name: tensor.detach().clone() for name, tensor in learned_weights(self.network).items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """The inverse of `weights`, after a run whose last step is done."""
        if self.decay:
            self.average = {name: weights[name].to(tensor.device) for name, tensor in _floating(self.network).items()}

    @contextmanager
    def _switched(self) -> Iterator[None]:
        """The optimizer's weights for evaluation. It comes back by arithmetic, which is not exact, so we keep ours."""
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
