"""A back end: an implementation of attention, with a test of the calls that it can compute.

    found = BACKENDS["blocks"]
    found.refuses(q, k, scores, dropout=None)        # None, or "the rule has no bounded reach"
    out, weights = found(q, k, v, scores, scale=0.125, dropout=None)

Shapes: q (B,H,Q,D), k and v (B,G,K,D) with G key-value heads, G dividing H; out (B,H,Q,D), weights (B,H,Q,K) or None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from antiphon.nn.rules import parts_of
from antiphon.nn.scores import Scores

Dropping = Callable[[Tensor], Tensor]


class Compute(Protocol):
    """Computes the output (B,H,Q,D), and the weights (B,H,Q,K) or None."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
    ) -> tuple[Tensor, Tensor | None]: ...


class Refuse(Protocol):
    """Returns why a back end cannot compute a call, in a few words; None if it can."""

    def __call__(self, q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """An implementation of attention, equal to `eager` for each call for which `refuses` returns None.

    `of_itself`: it computes self-attention of whole rows only. In cross-attention and decoding steps `eager` is then
    used without a warning.
    """

    name: str
    compute: Compute
    refuse: Refuse
    of_itself: bool = False

    def refuses(self, q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None = None) -> str | None:
        """The reason why it cannot compute this call; None if it can."""
        return self.refuse(q, k, scores, dropout=dropout)

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
    ) -> tuple[Tensor, Tensor | None]:
        return self.compute(q, k, v, scores, scale=scale, dropout=dropout)


def learned(scores: Scores) -> bool:
    """Whether the bias that the rule adds to the logits needs a gradient. Does not compute the bias."""
    if not torch.is_grad_enabled():
        return False
    return any(p.requires_grad for part in parts_of(scores.rule) if part.scores for p in part.parameters())
