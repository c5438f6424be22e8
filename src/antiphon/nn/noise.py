"""Dropout whose bits are a function of (seed, step, micro-batch, site), so that recomputation and every process draw
the same.

A site is one place in the model where bits are drawn; `number_sites` gives each its number. On a CPU, PyTorch's own
dropout costs as much as the matrix product beside it; here a byte is drawn for each element, so a probability is
rounded to the nearest 256th (0.1 becomes 26/256 = 0.1016), and the kept values are scaled by the exact inverse of the
rounded one, which keeps the mean.

Reference: Srivastava et al. 2014, Dropout: A Simple Way to Prevent Neural Networks from Overfitting.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.splitmix import mix

F = TypeVar("F", bound=Callable[..., Any])


def outside_graphs(function: F) -> F:
    """`function`, which is run between two graphs where `torch.compile` traces it: no graph holds a generator.

    As `torch.compiler.disable`, which imports the compiler as soon as it decorates.
    """

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*arguments)
        return function(*arguments)

    return cast(F, run)


class Noise:
    """The key of all random bits of a model.

    The training loop sets `seed`, `step` and `micro_batch` before each forward. A training forward for which nobody did
    draws a seed from PyTorch's global generator (`advance`), so that in a loop of one's own dropout differs from step
    to step and `torch.manual_seed` repeats it, as with `torch.nn.Dropout`.
    """

    def __init__(self) -> None:
        self.seed = self.step = self.micro_batch = 0
        self.is_set = False  # for the next forward

    def set(self, *, seed: int, step: int, micro_batch: int) -> None:
        """Choose the bits of the next forward."""
        self.seed, self.step, self.micro_batch, self.is_set = seed, step, micro_batch, True

    @outside_graphs
    def advance(self) -> None:
        """Begin a training forward: with the key that was set for it, else with one that is drawn."""
        if not self.is_set:
            self.seed, self.step, self.micro_batch = int(torch.randint(2**62, ())), 0, 0
        self.is_set = False

    @property
    def key(self) -> tuple[int, int, int]:
        """What the bits of this forward are a function of."""
        return self.seed, self.step, self.micro_batch

    @contextmanager
    def held(self, key: tuple[int, int, int]) -> Iterator[None]:
        """The bits of an earlier forward, for what computes a part of it again."""
        now = self.key
        self.seed, self.step, self.micro_batch = key
        try:
            yield
        finally:
            self.seed, self.step, self.micro_batch = now

    def generator(self, site: int, device: torch.device) -> torch.Generator:
        """A generator that no other (seed, step, micro-batch, site) shares, up to chance."""
        mixed = mix(self.seed, self.step, self.micro_batch, site)
        # The CPU's Mersenne Twister reads only 32 bits of a seed.
        return torch.Generator(device).manual_seed((mixed ^ mixed >> 32) & (2**32 - 1))


def check_probability(p: float, what: str) -> None:
    """ConfigError unless `p` is a probability below 1: of nothing that is kept, nothing is learned."""
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p < 1:
        raise ConfigError(f"{what} must be a probability of at least 0 and below 1, but is {p!r:.80}.")


def as_byte(p: float) -> int:
    """The number of 256 bytes that are dropped; never all of them."""
    return min(255, round(p * 256))


class Dropout(nn.Module):
    """Sets elements to zero with probability `p` in training, and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float, noise: Noise) -> None:
        super().__init__()
        check_probability(p, "dropout")
        self.p, self.noise, self.site = p, noise, -1

    def forward(self, x: Tensor) -> Tensor:
        threshold = as_byte(self.p)
        if not self.training or threshold == 0:
            return x
        return x * self.keep(x, threshold)

    @outside_graphs
    def keep(self, x: Tensor, threshold: int) -> Tensor:
        """A factor for each element of `x`: 0, or the scale of what is kept."""
        if self.site < 0:
            raise ConfigError(
                "dropout must be part of an EncoderDecoder before it is trained, which numbers the places where bits "
                "are drawn, but this one is not. Build the network first, or call `antiphon.nn.noise.number_sites`."
            )
        generator = self.noise.generator(self.site, x.device)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        octets = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: x.numel()].view(x.shape)
        keep = torch.empty_like(x, memory_format=torch.contiguous_format)
        torch.ge(octets, threshold, out=keep)
        return keep.mul_(256 / (256 - threshold))

    def extra_repr(self) -> str:
        return f"p={self.p}, site={self.site}"


class WordDropout(Dropout):
    """Sets whole vectors to zero: x (…, D), one bit for all of D.

    Sennrich et al. 2016, Edinburgh Neural Machine Translation Systems for WMT 16; with a bit for each token, not for
    each word of the vocabulary. What is kept is scaled by 1 / (1 - p), as in any dropout here, so that its mean is that
    of evaluation.
    """

    def forward(self, x: Tensor) -> Tensor:
        threshold = as_byte(self.p)
        if not self.training or threshold == 0:
            return x
        return x * self.keep(x[..., :1], threshold)


class LayerDrop(nn.Module):
    """Says whether a layer is left out of this forward (Fan et al. 2020, LayerDrop)."""

    def __init__(self, p: float, noise: Noise) -> None:
        super().__init__()
        check_probability(p, "the probability that a layer is skipped")
        self.p, self.noise, self.site = p, noise, -1

    @outside_graphs
    def dropped(self) -> bool:
        """True with probability `p` in training; never in evaluation."""
        if not self.training or self.p == 0:
            return False
        generator = self.noise.generator(self.site, torch.device("cpu"))
        return bool(torch.rand((), generator=generator) < self.p)


def number_sites(model: nn.Module) -> None:
    """Give each dropout of `model` its number, by its place in the model."""
    for site, module in enumerate(m for m in model.modules() if isinstance(m, (Dropout, LayerDrop))):
        module.site = site


def share_noise(model: nn.Module, noise: Noise) -> None:
    """Let all dropout of `model` draw its bits by the key of `noise`."""
    for module in model.modules():
        if isinstance(vars(module).get("noise"), Noise):
            vars(module)["noise"] = noise
