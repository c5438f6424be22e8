"""Additive attention: logits of a small network instead of a product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.nn.attend import plan, weigh
from antiphon.nn.cache import KeyValueCache, MemoryState, State
from antiphon.nn.mixers.mixer import Memory, Mixer, join_heads, split_heads
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.rules import Full
from antiphon.registry import register


@register("attention", "additive")
class Additive(Mixer):
    """Additive attention: logits v·tanh(W q + U k) for each head (Bahdanau et al. 2015, appendix A.1.2, with heads)."""

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        self.num_heads, self.head_dim, self.role = num_heads, head_dim, role
        width = num_heads * head_dim
        self.q, self.k, self.v = (nn.Linear(d_model, width, bias=bias) for _ in range(3))
        self.o = nn.Linear(width, d_model, bias=bias)
        self.scorer = nn.Parameter(torch.randn(num_heads, head_dim) * head_dim**-0.5)
        self.drop = Dropout(dropout, noise)
        self.rule = Full()

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        if memory is not None:
            return MemoryState(
                memory.tokens,
                k=split_heads(self.k(memory.hidden), self.head_dim),
                v=split_heads(self.v(memory.hidden), self.head_dim),
            )
        return KeyValueCache(rows, capacity, num_heads=self.num_heads, head_dim=self.head_dim, like=self.q.weight)

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        q = split_heads(self.q(x), self.head_dim)
        if isinstance(state, MemoryState):
            k, v, keys = state.source["k"], state.source["v"], state.tokens
        else:
            k, v, keys = split_heads(self.k(x), self.head_dim), split_heads(self.v(x), self.head_dim), tokens
            if isinstance(state, KeyValueCache):
                k, v, keys = state.update(k, v, tokens)
        scores = plan(self.rule, tokens, keys, causal=self.role == "decoder", num_heads=self.num_heads)
        hidden = torch.tanh(q[:, :, :, None] + k[:, :, None])  # (B, H, Q, K, D)
        weights = weigh(torch.einsum("bhqkd,hd->bhqk", hidden, self.scorer), scores.visible, scores.seeing, self.drop)
        if state is not None and state.record is not None:
            state.record.append(weights)
        return self.o(join_heads(weights @ v)), state
