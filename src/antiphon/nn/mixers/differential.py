"""Differential attention: the difference of two softmax maps, in which common noise cancels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from antiphon.nn.attend import logits, weigh
from antiphon.nn.mixers.heads import WeightMixer, normed, wide
from antiphon.nn.scores import Scores
from antiphon.registry import register


@register("attention", "differential")
class Differential(WeightMixer):
    """Weights softmax(q₁·k₁·scale) - λ softmax(q₂·k₂·scale), an RMS norm of each head's sum (Ye et al. 2024, eq. 1-3).

    A head's queries and keys are halved, so that the projections are as large as those of plain attention with as many
    heads (the paper has half as many, each twice as wide); the scale is (head_dim / 2) ** -0.5. λ is
    exp(λq₁·λk₁) - exp(λq₂·λk₂) + lambda_init, one for the layer. The paper's lambda_init grows with the depth, 0.8 -
    0.6 exp(-0.3 (layer - 1)); here it is a setting, and a list of attentions gives each layer its own. Recorded weights
    are the difference, and may be negative.
    """

    takes = (*WeightMixer.takes, "rotary")
    maps = 2

    def __init__(self, *, lambda_init: float = 0.8) -> None:
        super().__init__()
        if not (math.isfinite(lambda_init) and lambda_init < 1):
            raise ValueError(f"`lambda_init` must be less than 1, but is {lambda_init}")
        self.lambda_init = float(lambda_init)

    def make(self, *, d_model: int, bias: bool) -> None:
        self.lambdas = nn.Parameter(torch.randn(4, self.head_dim // 2) * 0.1)  # λq₁, λk₁, λq₂, λk₂
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)

    def weights(self, q: Tensor, k: Tensor, scores: Scores) -> Tensor:
        pairs = zip(q.chunk(2, dim=-1), k.chunk(2, dim=-1), strict=True)
        first, second = (
            weigh(logits(*pair, scores, scale=self.scale), scores.visible, scores.seeing) for pair in pairs
        )
        q1, k1, q2, k2 = wide(self.lambdas)
        share = (q1 * k1).sum().exp() - (q2 * k2).sum().exp() + self.lambda_init
        return first - share.to(second.dtype) * second

    def gather(self, weights: Tensor, v: Tensor) -> Tensor:
        return (1 - self.lambda_init) * normed(self.norm, super().gather(weights, v))
