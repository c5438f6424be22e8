"""Training in one process: the interface that the step of training uses, which DDP and FSDP2 implement too.

    parallel = SingleProcess(network, settings, world)
    optimizer = build_optimizer(parallel.network, settings)
    for number in parallel.share(count):               # of the micro-batches of this step, those of this rank
        with parallel.synchronizing(last=...):
            parallel.forward(batch, criterion).objective.backward()
    norm = parallel.clip(bound, world.sum(parallel.square()))

Gradients are sums over the ranks, not means: the loss is divided by the labels of the whole step beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.config import TrainingConfig
from antiphon.distributed.world import World
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixout import add_mixout
from antiphon.nn.noise import number_sites


class SingleProcess:
    """Trains `network` in place.

    `network` holds the weights that are trained, `plain` is the network that is evaluated and saved, `forward` computes
    the loss of a batch. For one process, and for DDP, the two networks are the same.
    """

    kind = "none"
    plain: EncoderDecoder
    network: EncoderDecoder
    forward: nn.Module | Callable[..., Any]

    def __init__(self, network: EncoderDecoder, settings: TrainingConfig, world: World) -> None:
        self.settings, self.world, self.device = settings, world, network.device
        self.plain = self.network = network
        prepare(network, settings)
        self.forward = torch.compile(network, dynamic=True) if settings.compile else network

    def share(self, count: int) -> list[int | None]:
        """The numbers of the micro-batches, of `count` in this step, that this rank computes. None: a micro-batch that
        counts nothing, so that the rank takes part in the collectives of the others."""
        return list(range(count))

    def beside(self, place: int, count: int) -> Sequence[int]:
        """The numbers of the micro-batches, of `count`, that all ranks compute as their `place`-th, in as many passes.
        Empty where a rank may make any number of passes."""
        return ()

    @property
    def repeatable(self) -> bool:
        """Whether this rank may compute its gradients of this step again: no other rank has a part of them."""
        return True

    def synchronizing(self, *, last: bool) -> AbstractContextManager[Any]:
        """The context of the forward and backward pass of one micro-batch; `last`: of this rank in this step."""
        return nullcontext()

    def square(self) -> Tensor:
        """What this rank adds to the square of the gradient's norm, if that is a sum over the ranks; else 0."""
        return torch.zeros((), dtype=torch.float64, device=self.device)

    def clip(self, bound: float, square: Tensor) -> Tensor:
        """Clip the gradient to the norm `bound` and return its norm; `square` is the sum of `square()`."""
        return nn.utils.clip_grad_norm_(self.network.parameters(), bound)

    def drop_unused(self, *, step: int, count: int) -> None:
        """Leave the parameters that no micro-batch of the step used without a gradient, as in one process."""

    @contextmanager
    def evaluation(self) -> Iterator[EncoderDecoder]:
        """The context in which `plain` has the present weights."""
        yield self.plain


def prepare(network: EncoderDecoder, settings: TrainingConfig) -> None:
    """Set up mixout and activation checkpointing, as `settings` say."""
    if settings.mixout:
        add_mixout(network, settings.mixout, network.noise)
        number_sites(network)
    network.checkpoint_activations(settings.checkpoint_activations)
