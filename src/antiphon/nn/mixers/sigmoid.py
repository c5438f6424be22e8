"""Sigmoid attention: the weight of a key does not depend on other keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from antiphon.nn.attend import logits
from antiphon.nn.mixers.heads import WeightMixer
from antiphon.nn.scores import Scores
from antiphon.registry import register


@register("attention", "sigmoid")
class Sigmoid(WeightMixer):
    """Weights sigmoid(q·k·scale + bias), which need not sum to one (Ramapuram et al. 2024, section 2).

    The paper's bias is -log n, n being the length of the sequences, so that the weights of a new network sum to about
    one. Here a weight must not depend on other rows, padding or the decoding step, so n cannot be a length of the data:
    `bias` is a constant, by default that of n = 64. Set it to -log of a typical length.
    """

    takes = (*WeightMixer.takes, "rotary")

    def __init__(self, *, bias: float = -math.log(64)) -> None:
        super().__init__()
        if not math.isfinite(bias):
            raise ValueError(f"`bias` must be a finite number, but is {bias}")
        self.bias = float(bias)

    def weights(self, q: Tensor, k: Tensor, scores: Scores) -> Tensor:
        found = torch.sigmoid(logits(q, k, scores, scale=self.scale) + self.bias)
        return found if scores.visible is None else found.masked_fill(~scores.visible, 0.0)
