"""Mixers: anything that mixes tokens. Dot-product attention under a score rule is one; what has other logits, or none,
is another.

A mixer of one's own subclasses `Mixer`; its `forward` serves training (no state), prefill and single steps alike, and
its state is named leaves (`State`), so every search reorders and drops them without further code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.nn.attend import plan, weigh
from antiphon.nn.cache import KeyValueCache, MemoryState, State
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.part import Part
from antiphon.nn.rules import Full
from antiphon.registry import register


class Memory:
    """The encoder's output: `hidden` (N, S, D), zero at padding, and its `tokens`."""

    def __init__(self, hidden: Tensor, tokens: Tokens) -> None:
        self.hidden, self.tokens = hidden, tokens

    def select(self, rows: Tensor) -> Memory:
        """The memory of sources `rows` (n,), in that order."""
        return Memory(self.hidden.index_select(0, rows), self.tokens.select(rows))


class Mixer(Part):
    """Base class.

    `role` is `encoder`, `decoder` (causal) or `cross` (queries over a memory, each independent of the others).
    """

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        """Make the parameters."""
        raise NotImplementedError

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        """The state of `rows` hypotheses before the first token, with room for `capacity`.

        In a cross role, what is done once for `memory`.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        """x (B, L, d_model) mixed, same shape, and the state after it. Without a state, x is the whole sequence."""
        raise NotImplementedError


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """(B, L, H·D) -> (B, H, L, D)"""
    return x.view(x.shape[0], x.shape[1], -1, head_dim).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, L, D) -> (B, L, H·D)"""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


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
