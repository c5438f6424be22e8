"""Dropout with counter-based random bits: a function of (seed, step, micro-batch, site), so that a recomputed layer and
every process draw the same bits. A part of the rows of a micro-batch (`RowRanges`) has the bits that these rows have in
the whole.

A site is one dropout layer of the model; `number_sites` numbers them. On a CPU, PyTorch's own dropout takes as long as
the matrix product next to it. Here one random byte is drawn for each element, so a probability is rounded to a multiple
of 1/256 (0.1 becomes 26/256 = 0.1016). Values that are not dropped are scaled by the exact inverse of the rounded
probability, so the mean does not change.

Reference: Srivastava et al. 2014, Dropout: A Simple Way to Prevent Neural Networks from Overfitting.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.splitmix import mix

F = TypeVar("F", bound=Callable[..., Any])


def outside_graphs(function: F) -> F:
    """Exclude `function` from graphs of `torch.compile`, which cannot contain a random generator.

    As `torch.compiler.disable`, which would import the compiler already when it decorates.
    """

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*arguments)
        return function(*arguments)

    return cast(F, run)


@dataclass(frozen=True, slots=True)
class RowRanges:
    """The rows of a micro-batch that a forward computes, where it computes a part of them.

    `ranges` are the first row (included) and the last (excluded) of each run of rows, ascending; `total` is the number
    of rows of the micro-batch, `source_lengths` are the numbers of real source tokens of all of them.
    """

    ranges: tuple[tuple[int, int], ...]
    total: int
    source_lengths: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of rows of the part."""
        return sum(last - first for first, last in self.ranges)

    def twice(self) -> RowRanges:
        """The same rows of a micro-batch whose rows stand twice: all of them, then all of them again."""
        again = tuple((first + self.total, last + self.total) for first, last in self.ranges)
        return RowRanges((*self.ranges, *again), 2 * self.total, self.source_lengths * 2)

    def take(self, whole: Tensor) -> Tensor:
        """The rows (count, …) of `whole` (total, …)."""
        pieces = [whole[first:last] for first, last in self.ranges]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def widen(self, part: Tensor) -> Tensor:
        """Rows (total, …) whose rows of the part are `part` (count, …); the others are copies of its first row."""
        places = torch.zeros(self.total, dtype=torch.int64)
        at = 0
        for first, last in self.ranges:
            places[first:last] = torch.arange(at, at + last - first)
            at += last - first
        return part.index_select(0, places.to(part.device))


class Noise:
    """The key of all random bits of a model.

    The training loop sets `seed`, `step` and `micro_batch` before each forward. If they are not set, a training forward
    draws a seed from PyTorch's global generator (`advance`): in your own loop dropout then differs from step to step
    and is repeatable by `torch.manual_seed`, as with `torch.nn.Dropout`.
    """

    def __init__(self) -> None:
        self.seed = self.step = self.micro_batch = 0
        self.rows: RowRanges | None = None
        self.is_set = False  # for the next forward

    def set(self, *, seed: int, step: int, micro_batch: int, rows: RowRanges | None = None) -> None:
        """Set the key of the next forward. `rows`: those that it computes; None: all."""
        self.seed, self.step, self.micro_batch, self.is_set = seed, step, micro_batch, True
        self.rows = rows

    @outside_graphs
    def advance(self) -> None:
        """Begin a training forward, with the key that was set or a new random one."""
        if not self.is_set:
            self.seed, self.step, self.micro_batch, self.rows = int(torch.randint(2**62, ())), 0, 0, None
        self.is_set = False

    @property
    def key(self) -> tuple[int, int, int]:
        """The key of this forward: (seed, step, micro-batch)."""
        return self.seed, self.step, self.micro_batch

    @contextmanager
    def held(self, key: tuple[int, int, int], rows: RowRanges | None = None) -> Iterator[None]:
        """Use the key and the rows of an earlier forward within the context, to recompute a layer of it."""
        now, rows_now = self.key, self.rows
        (self.seed, self.step, self.micro_batch), self.rows = key, rows
        try:
            yield
        finally:
            (self.seed, self.step, self.micro_batch), self.rows = now, rows_now

    def generator(self, site: int, device: torch.device) -> torch.Generator:
        """A generator seeded by a hash of (seed, step, micro-batch, site)."""
        mixed = mix(self.seed, self.step, self.micro_batch, site)
        # The CPU's Mersenne Twister reads only 32 bits of a seed.
        return torch.Generator(device).manual_seed((mixed ^ mixed >> 32) & (2**32 - 1))


def check_probability(p: float, what: str) -> None:
    """ConfigError unless `p` is a probability below 1. `what` names it in the message."""
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p < 1:
        raise ConfigError(f"{what} must be a probability of at least 0 and below 1, but is {p!r:.80}.")


def as_byte(p: float) -> int:
    """How many of the 256 values of a byte drop an element; at most 255."""
    return min(255, round(p * 256))


class Dropout(nn.Module):
    """Sets elements to zero with probability `p` in training, and scales the others by 1 / (1 - p).

    `has_rows`: whether the first dimension of what it drops are the rows of the batch.
    """

    has_rows = True

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
        """The factor of each element of `x`: 0 if it is dropped, else the scale."""
        if self.site < 0:
            raise ConfigError(
                "dropout must be part of an EncoderDecoder before it is trained, which numbers the places where bits "
                "are drawn, but this one is not. Build the network first, or call `antiphon.nn.noise.number_sites`."
            )
        generator = self.noise.generator(self.site, x.device)
        rows = self.noise.rows if self.has_rows else None
        if rows is not None and x.shape[0] != rows.count:
            rows = None
        # A part of the rows has the bits that it has in the whole.
        shape = x.shape if rows is None else (rows.total, *x.shape[1:])
        size = math.prod(shape)
        words = torch.empty((size + 7) // 8, dtype=torch.int64, device=x.device)
        octets = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[:size].view(shape)
        if rows is not None:
            octets = rows.take(octets)
        keep = torch.empty_like(x, memory_format=torch.contiguous_format)
        torch.ge(octets, threshold, out=keep)
        return keep.mul_(256 / (256 - threshold))

    def extra_repr(self) -> str:
        return f"p={self.p}, site={self.site}"


class WordDropout(Dropout):
    """Sets whole vectors to zero: x (…, D), one bit for all of D.

    Sennrich et al. 2016, Edinburgh Neural Machine Translation Systems for WMT 16; with a bit for each token, not for
    each word of the vocabulary. Other vectors are scaled by 1 / (1 - p), as in `Dropout`.
    """

    def forward(self, x: Tensor) -> Tensor:
        threshold = as_byte(self.p)
        if not self.training or threshold == 0:
            return x
        return x * self.keep(x[..., :1], threshold)


class LayerDrop(nn.Module):
    """Decides whether a layer is skipped in this forward (Fan et al. 2020, LayerDrop)."""

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
    """Number the dropout layers of `model`, in the order of its modules."""
    for site, module in enumerate(m for m in model.modules() if isinstance(m, (Dropout, LayerDrop))):
        module.site = site


def share_noise(model: nn.Module, noise: Noise) -> None:
    """Let all dropout layers of `model` use the key of `noise`."""
    for module in model.modules():
        if isinstance(vars(module).get("noise"), Noise):
            vars(module)["noise"] = noise
