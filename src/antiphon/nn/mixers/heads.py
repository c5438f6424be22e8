"""What most mixers share: projections to heads and back, and a cache of the keys that attention weights are made of.

A mixer of one's own whose logits are not q·k says what they are, and nothing else; it trains, decodes and is searched::

    class Distance(WeightMixer):
        def logits(self, q, k):                              # (B,H,Q,D), (B,H,K,D) -> (B,H,Q,K)
            return -torch.cdist(q, k) * self.scale
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.errors import AttentionError, ConfigError
from antiphon.nn.attend import plan, weigh
from antiphon.nn.cache import KeyValueCache
from antiphon.nn.layers import project, project_wide, type_of
from antiphon.nn.mixers.mixer import Memory, Mixer, join_heads, split_heads
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.positions import Rotary
from antiphon.nn.rules import Full
from antiphon.nn.scores import Scores
from antiphon.nn.state import MemoryState, State

FULL = Full()  # one object, so that the layers of a forward share what it hides


class HeadMixer(Mixer):
    """A mixer with projections q (H heads), k and v (G key-value heads, G dividing H) and o, H·D features wide.

    It says the rest in `make`, `begin` and `forward`.
    """

    takes = ("num_kv_heads",)
    key_bias = True  # whether the keys have a bias where the others do

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        groups = self.num_kv_heads or num_heads
        self.num_heads, self.groups, self.head_dim, self.role = num_heads, groups, head_dim, role
        self.q = nn.Linear(d_model, num_heads * head_dim, bias=bias)
        memory_width = self.memory_width or d_model
        self.k = nn.Linear(memory_width, groups * head_dim, bias=bias and self.key_bias)
        self.v = nn.Linear(memory_width, groups * head_dim, bias=bias)
        self.o = nn.Linear(num_heads * head_dim, d_model, bias=bias)
        self.drop = Dropout(dropout, noise)
        self.make(d_model=d_model, bias=bias)

    def make(self, *, d_model: int, bias: bool) -> None:
        """Parameters of its own; `num_heads`, `groups`, `head_dim` and `role` are known by now."""

    def heads(self, x: Tensor, *linears: nn.Module) -> list[Tensor]:
        """x (B, L, d_model) under each of `linears`, (B, heads, L, D)."""
        return [split_heads(part, self.head_dim) for part in project(x, linears)]

    def wide_heads(self, x: Tensor, *linears: nn.Module) -> list[Tensor]:
        """The same in float32 at least."""
        return [split_heads(part, self.head_dim) for part in project_wide(x, linears)]


class WeightMixer(HeadMixer):
    """A mixer whose heads give each key a weight, and sum the values by it; as it stands, softmax of q·k·scale.

    Override `logits` (the softmax stays), or `weights`. A mixer of dot products takes `rotary` too: then queries and
    keys have rotary positions where the model has them, for each of the `maps` queries that a head holds side by side.
    """

    takes = ("num_kv_heads", "attention_scale", "attention_dropout")
    maps: ClassVar[int] = 1

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        width, rotary = head_dim // self.maps, "rotary" in self.takes and self.rotary_positions and role != "cross"
        if head_dim % (self.maps * (2 if rotary else 1)):
            why = f"{self.maps} queries a head" + (" and rotary positions" if rotary else "")
            raise ConfigError(
                f"`model.head_dim` must be a multiple of {self.maps * (2 if rotary else 1)} under "
                f"`{type(self).__name__}`, which has {why}, but is {head_dim}. Change it, or `model.num_heads`."
            )
        self.scale = self.attention_scale or width**-0.5
        self.rotary = Rotary(width, base=self.rotary_base) if rotary else None
        super().setup(
            d_model=d_model, num_heads=num_heads, head_dim=head_dim, role=role, bias=bias, dropout=dropout, noise=noise
        )

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """(B,H,Q,K), what softmax turns into weights, before the mask; q (B,H,Q,D), k (B,H,K,D)."""
        return q @ k.transpose(-1, -2) * self.scale

    def weights(self, q: Tensor, k: Tensor, scores: Scores) -> Tensor:
        """(B,H,Q,K), zero where `scores.visible` is false; q (B,H,Q,D), k (B,G,K,D)."""
        found = self.logits(q, spread(k, self.num_heads))
        shape = (q.shape[0], self.num_heads, q.shape[2], k.shape[2])
        if found.shape != shape:
            raise AttentionError(
                f"`logits` of `{type(self).__name__}` in the role {self.role} must give (B,H,Q,K) = {shape} of q "
                f"{tuple(q.shape)} and k {(*shape[:2], *k.shape[2:])}, but gave {tuple(found.shape)}."
            )
        return weigh(found, scores.visible, scores.seeing)

    def gather(self, weights: Tensor, v: Tensor) -> Tensor:
        """(B,H,Q,D), the values (B,G,K,D) by weight."""
        rows, heads, queries, keys = weights.shape
        groups = v.shape[1]
        # (B,H,Q,K) -> (B,G,H/G·Q,K): the queries of a group are rows of one product, and no value is repeated.
        return (weights.reshape(rows, groups, -1, keys) @ v).view(rows, heads, queries, -1)

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        if memory is not None:
            k, v = self.heads(memory.hidden, self.k, self.v)
            return MemoryState(memory.tokens, k=k, v=v)
        return KeyValueCache(rows, capacity, num_heads=self.groups, head_dim=self.head_dim, like=type_of(self.q))

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        if isinstance(state, MemoryState):
            (q,) = self.heads(x, self.q)
            k, v, keys = state.source["k"], state.source["v"], state.tokens
        else:
            q, k, v = self.heads(x, self.q, self.k, self.v)
            q, k, keys = self.turned(q, tokens), self.turned(k, tokens), tokens
            if isinstance(state, KeyValueCache):
                k, v, keys = state.update(k, v, tokens)
        scores = plan(FULL, tokens, keys, causal=self.role == "decoder", num_heads=self.num_heads)
        return self.o(join_heads(self.mix(q, k, v, scores, self.recorder(tokens, state)))), state

    def mix(self, q: Tensor, k: Tensor, v: Tensor, scores: Scores, record: list[Tensor] | None) -> Tensor:
        """(B,H,Q,D) of q (B,H,Q,D), k and v (B,G,K,D); the weights are appended to `record` where there is one."""
        weights = self.drop(self.weights(q, k, scores))
        if record is not None:
            record.append(weights)
        return self.gather(weights, v)

    def turned(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Queries or keys (B, heads, L, D) under rotary positions, where they are taken."""
        if self.rotary is None:
            return x
        key = ("rotary", self.rotary.head_dim)
        tables = tokens.memo.get(key)
        if tables is None:
            tables = tokens.memo[key] = self.rotary.tables(tokens.pos)
        parts = [self.rotary(part, tables) for part in x.chunk(self.maps, dim=-1)]
        return torch.cat(parts, dim=-1)


def spread(k: Tensor, num_heads: int) -> Tensor:
    """(B,G,K,D) -> (B,H,K,D): each key head once for every query head of its group."""
    return k if k.shape[1] == num_heads else k.repeat_interleave(num_heads // k.shape[1], dim=1)


def wide(x: Tensor) -> Tensor:
    """x in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normed(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """x (…, D) under `norm`, computed in float32 at least, also where autocast would mix its types."""
    return functional.rms_norm(wide(x), norm.normalized_shape, wide(norm.weight), norm.eps).to(x.dtype)
