"""What a back end is: a value that computes attention, or says why it cannot.

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
    """How a back end computes: the output, and the weights where it has them."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
    ) -> tuple[Tensor, Tensor | None]: ...


class Refuse(Protocol):
    """Why a back end cannot compute a call, in a few words; None: it can."""

    def __call__(self, q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to compute attention, which equals `eager` wherever `refuses` gives None.

    `of_itself`: it computes rows that attend to themselves and nothing else, so that nobody who chose it expects it in
    a cross role or in a step of decoding.
    """

    name: str
    compute: Compute
    refuse: Refuse
    of_itself: bool = False

    def refuses(self, q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None = None) -> str | None:
        """Why it cannot compute this, to stand behind "it cannot: "; None: it can."""
        return self.refuse(q, k, scores, dropout=dropout)

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
    ) -> tuple[Tensor, Tensor | None]:
        return self.compute(q, k, v, scores, scale=scale, dropout=dropout)


def learned(scores: Scores) -> bool:
    """Whether a gradient will be asked of what the rule adds to the logits; nothing is computed for the answer."""
    if not torch.is_grad_enabled():
        return False
    return any(p.requires_grad for part in parts_of(scores.rule) if part.scores for p in part.parameters())
