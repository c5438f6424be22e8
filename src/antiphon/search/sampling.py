"""Sampling: which tokens can be drawn and how likely, and the random numbers that draw them.

    random = HypothesisRandom(seed, rows, width=1)
    ids = TokenSampler(temperature=0.8, top_p=0.9).draw(scores, random.roll(step).flatten())

Shapes: N sources, W hypotheses of each, R = N·W, V ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.errors import NonFiniteError
from antiphon.splitmix import GOLDEN, finalize, signed

NOT_NUMBERS = (
    "the model's probabilities must be numbers, but are NaN. Check its weights, or load it with dtype float32."
)


@dataclass(frozen=True, slots=True)
class TokenSampler:
    """Draws one token a row, by the probabilities of scores / temperature.

    Only the `top_k` best can be drawn; of these the smallest set of best ones that holds `top_p` of what is left
    (Holtzman et al. 2020); of these those with at least `min_p` times the best one's probability (Nguyen et al. 2024).
    """

    temperature: float
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def draw(self, scores: Tensor, uniform: Tensor) -> Tensor:
        """Ids (R,) for `uniform` (R,) in [0, 1): the place where the summed probabilities of row i pass uniform[i]."""
        weights, ids = self.weights(scores)
        summed = weights.cumsum(1)
        total = summed[:, -1:]
        if bool(total.isnan().any()):
            raise NonFiniteError(NOT_NUMBERS)
        place = (summed <= uniform[:, None] * total).sum(1, keepdim=True)
        place = place.clamp(max=scores.shape[1] - 1)  # where nothing can follow, any token does: its score is -inf
        return (place if ids is None else ids.gather(1, place))[:, 0]

    def weights(self, scores: Tensor) -> tuple[Tensor, Tensor | None]:
        """What each token weighs, (R, V), 0 if it cannot be drawn, in the order of ids (R, V); none: in their own."""
        ids = None
        if self.top_k is not None or self.top_p is not None:
            scores, ids = scores.sort(dim=1, descending=True, stable=True)
        exact = scores if scores.device.type == "mps" else scores.double()  # sums over a whole vocabulary
        lowest = torch.finfo(exact.dtype).min
        largest = exact.amax(1, keepdim=True).clamp(min=lowest)  # a row of -inf must not become NaN
        weights = ((exact - largest) / self.temperature).exp()
        if self.top_k is not None:
            weights[:, self.top_k :] = 0
        if self.top_p is not None:
            before = weights.cumsum(1) - weights
            weights = weights.masked_fill(before >= self.top_p * weights.sum(1, keepdim=True), 0)
        if self.min_p is not None:
            weights = weights.masked_fill(weights < self.min_p * weights.amax(1, keepdim=True), 0)
        return weights, ids


class HypothesisRandom:
    """Uniform numbers, a function of (seed, row, hypothesis, step) alone: what runs beside a row changes nothing."""

    def __init__(self, seed: int, rows: Tensor, width: int) -> None:
        lanes = torch.arange(width, device=rows.device)
        self.keys = finalize(finalize(rows ^ signed(seed * GOLDEN))[:, None] + lanes)  # (N, W)

    def select(self, rows: Tensor) -> None:
        """Keep the sources `rows` (n,), in that order."""
        self.keys = self.keys.index_select(0, rows)

    def roll(self, step: int) -> Tensor:
        """(N, W) in [0, 1)"""
        bits = (finalize(self.keys ^ signed((step + 1) * GOLDEN)) >> 11) & (2**53 - 1)
        if bits.device.type == "mps":
            return (bits.float() * 2.0**-53).clamp(max=1 - 2**-24)
        return bits.double() * 2.0**-53
