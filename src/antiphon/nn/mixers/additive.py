"""Additive attention: logits from a small feed-forward network instead of dot products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.nn.mixers.heads import WeightMixer
from antiphon.registry import register

SCORERS = ("tanh", "mlp")


@register("attention", "additive")
class Additive(WeightMixer):
    """Additive attention: a small network, with weights of its own for each head, scores each pair of query and key.

    `scorer: tanh` is v·tanh(W q + U k) (Bahdanau et al. 2015, appendix A.1.2, with heads). `scorer: mlp` is
    tanh(v·relu(W q + U k + b) + c): the Linear, ReLU, Linear to one number and tanh that some tutorials print. Its
    logits are between -1 and 1, so no weight is more than e² times another. W, U and b are the projections of queries
    and keys; b and c exist if the model has biases. Rotary positions are not applied: they make a product depend on
    distance, but not a sum.

    The hidden layer is (B, H, Q, K, D): memory grows with the product of both lengths and the width.
    """

    takes = ("num_kv_heads", "attention_dropout")

    def __init__(self, *, scorer: str = "tanh") -> None:
        super().__init__()
        if scorer not in SCORERS:
            raise ValueError(f"`scorer` must be one of {', '.join(SCORERS)}, but is {scorer!r}")
        self.kind = scorer

    def make(self, *, d_model: int, bias: bool) -> None:
        self.scorer = nn.Parameter(torch.randn(self.num_heads, self.head_dim) * self.head_dim**-0.5)
        self.offset = nn.Parameter(torch.zeros(self.num_heads, 1, 1)) if bias and self.kind == "mlp" else None

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        pairs = q[:, :, :, None] + k[:, :, None]  # (B, H, Q, K, D)
        hidden = torch.relu(pairs) if self.kind == "mlp" else torch.tanh(pairs)
        found = torch.einsum("bhqkd,hd->bhqk", hidden, self.scorer)
        if self.kind == "tanh":
            return found
        return torch.tanh(found if self.offset is None else found + self.offset)
