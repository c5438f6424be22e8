"""Attentions of a user's own: functions, scorers and PyTorch's module, as somebody who starts would write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.nn import ScoreRule, Window


def softmax(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def ahead(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Ignores the mask."""
    return (q @ k.transpose(-1, -2)).softmax(-1) @ v


def short(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return softmax(q, k, v, mask)[..., 0]


def makes_a_rule(window: int = 3) -> ScoreRule:
    """No attention, but what makes one."""
    return Window(window)


class CustomAttention(nn.Module):
    """As tutorials print it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x)


class Pair(nn.Module):
    """Of a query and a key, without the last dimension; with dropout, whose bits must be the network's."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(input_dim, hidden_dim), nn.Linear(input_dim, hidden_dim)
        self.drop, self.out = nn.Dropout(0.2), nn.Linear(hidden_dim, 1)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return self.out(self.drop(torch.tanh(self.q(query) + self.k(key)))).squeeze(-1)


class Wide(nn.Module):
    """Needs more than widths."""

    def __init__(self, a: int, b: int, c: int) -> None:
        super().__init__()
        self.layer = nn.Linear(a, b * c)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Saver(nn.Module):
    """Its constructor does something to a file: no folder may name one for it."""

    def __init__(self, path: str = "ran") -> None:
        super().__init__()
        with open(path, "w") as file:
            file.write("ran")

    def forward(self, x: Tensor) -> Tensor:
        return x[..., 0]


FUNCTION = softmax
