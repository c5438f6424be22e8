"""Base classes of mixers with heads: projections to heads and back, and a cache of keys and values.

A mixer of your own with other logits than q·k only defines `logits`; training, decoding and search need no more code::

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
from antiphon.nn.cache import KeyValueCache, to_cache_type
from antiphon.nn.layers import project, project_wide, type_of
from antiphon.nn.mixers.mixer import Memory, Mixer, join_heads, split_heads
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.positions import Rotary
from antiphon.nn.ring import make_cache
from antiphon.nn.rules import Full, ScoreRule
from antiphon.nn.scores import Scores
from antiphon.nn.state import MemoryState, State

FULL = Full()  # one object, so that the layers of a forward share its mask


class HeadMixer(Mixer):
    """A mixer with projections q (H heads), k and v (G key-value heads, G dividing H) and o, H·D features wide.

    Subclasses define `make`, `begin` and `forward`.
    """

    takes = ("num_kv_heads",)
    key_bias = True  # whether the key projection has a bias if the others do
    qkv_bias = True  # whether the projections q, k and v have a bias if o does

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        groups = self.num_kv_heads or num_heads
        self.num_heads, self.groups, self.head_dim, self.role = num_heads, groups, head_dim, role
        biased, memory_width = bias and self.qkv_bias, self.memory_width or d_model
        self.q = nn.Linear(d_model, num_heads * head_dim, bias=biased)
        self.k = nn.Linear(memory_width, groups * head_dim, bias=biased and self.key_bias)
        self.v = nn.Linear(memory_width, groups * head_dim, bias=biased)
        self.o = nn.Linear(num_heads * head_dim, d_model, bias=bias)
        self.drop = Dropout(dropout, noise)
        self.make(d_model=d_model, bias=bias)

    def make(self, *, d_model: int, bias: bool) -> None:
        """Create further parameters. `num_heads`, `groups`, `head_dim` and `role` are already set."""

    def heads(self, x: Tensor, *linears: nn.Module) -> list[Tensor]:
        """Project x (B, L, d_model) by each of `linears` to (B, heads, L, D)."""
        return [split_heads(part, self.head_dim) for part in project(x, linears)]

    def wide_heads(self, x: Tensor, *linears: nn.Module) -> list[Tensor]:
        """As `heads`, in float32 or wider."""
        return [split_heads(part, self.head_dim) for part in project_wide(x, linears)]


class QueryKeyMixer(HeadMixer):
    """A mixer of queries over keys that a cache holds: the body that every attention with keys has in common.

    `mix` combines queries, keys and values. `queries` and `keys` prepare both before they are cached; here they get
    rotary positions, for each of the `maps` vectors that a head concatenates, if `rotary` is set.
    """

    maps: ClassVar[int] = 1
    rotary: Rotary | None
    cache_dtype: torch.dtype | None = None  # of keys and values in a state; None: that of the projections

    @property
    def score_rule(self) -> ScoreRule:
        """The rule that decides which pairs are visible."""
        return FULL

    def queries(self, q: Tensor, tokens: Tokens) -> Tensor:
        """Queries (B,H,L,D) of `tokens`, ready for `mix`."""
        return self.rotated(q, tokens)

    def keys(self, k: Tensor, tokens: Tokens) -> Tensor:
        """Keys (B,G,L,D) of `tokens`, ready for the cache."""
        return self.rotated(k, tokens)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, scores: Scores, record: list[Tensor] | None) -> Tensor:
        """Attention (B,H,Q,D) of q (B,H,Q,D) over k and v (B,G,K,D); appends the weights to `record` if it is given."""
        raise NotImplementedError

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        dtype = self.cache_dtype or type_of(self.q).dtype
        if memory is not None:
            k, v = self.heads(memory.hidden, self.k, self.v)
            leaves = {"k": self.keys(k, memory.tokens), "v": v}
            return MemoryState(memory.tokens, **{name: to_cache_type(leaf, dtype) for name, leaf in leaves.items()})
        like, reach = type_of(self.q).to(dtype), self.score_rule.reach
        return make_cache(rows, capacity, reach, num_heads=self.groups, head_dim=self.head_dim, like=like)

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        if isinstance(state, MemoryState):
            (q,) = self.heads(x, self.q)
            q = self.queries(q, tokens)
            k, v, key_tokens = state.source["k"], state.source["v"], state.tokens
        else:
            q, k, v = self.heads(x, self.q, self.k, self.v)
            q, k, key_tokens = self.queries(q, tokens), self.keys(k, tokens), tokens
            if isinstance(state, KeyValueCache):
                k, v, key_tokens = state.update(k, v, tokens)
        causal = self.role == "decoder"
        scores = plan(self.score_rule, tokens, key_tokens, causal=causal, num_heads=self.num_heads)
        return self.o(join_heads(self.mix(q, k, v, scores, self.recorder(tokens, state)))), state

    def rotated(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Apply rotary positions, if there are any, to queries or keys (B, heads, L, D); those of patches of images
        have two dimensions."""
        if self.rotary is None:
            return x
        key = ("rotary", self.rotary.head_dim, self.rotary.base)
        tables = tokens.memo.get(key)
        if tables is None:
            made = self.rotary.tables(tokens.pos) if tokens.grid is None else self.rotary.grid_tables(tokens.grid)
            tables = tokens.memo[key] = made
        if self.maps == 1:
            return self.rotary(x, tables)  # type: ignore[arg-type]
        parts = [self.rotary(part, tables) for part in x.chunk(self.maps, dim=-1)]  # type: ignore[arg-type]
        return torch.cat(parts, dim=-1)


class WeightMixer(QueryKeyMixer):
    """A mixer whose heads return weighted sums of the values, by default with the weights softmax(q·k·scale).

    Override `logits` (before the softmax) or `weights`. A mixer of dot products may list `rotary` in `takes`: queries
    and keys then have rotary positions if the model has them, for each of the `maps` queries that a head concatenates.
    """

    takes = ("num_kv_heads", "attention_scale", "attention_dropout")

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
        """The logits (B,H,Q,K) before mask and softmax; q (B,H,Q,D), k (B,H,K,D)."""
        return q @ k.transpose(-1, -2) * self.scale

    def weights(self, q: Tensor, k: Tensor, scores: Scores) -> Tensor:
        """The weights (B,H,Q,K), zero where `scores.visible` is false; q (B,H,Q,D), k (B,G,K,D)."""
        found = self.logits(q, repeat_kv(k, self.num_heads))
        shape = (q.shape[0], self.num_heads, q.shape[2], k.shape[2])
        if found.shape != shape:
            raise AttentionError(
                f"`logits` of `{type(self).__name__}` in the role {self.role} must give (B,H,Q,K) = {shape} of q "
                f"{tuple(q.shape)} and k {(*shape[:2], *k.shape[2:])}, but gave {tuple(found.shape)}."
            )
        return weigh(found, scores.visible, scores.seeing)

    def gather(self, weights: Tensor, v: Tensor) -> Tensor:
        """The sum (B,H,Q,D) of the values (B,G,K,D) by the weights (B,H,Q,K)."""
        rows, heads, queries, keys = weights.shape
        groups = v.shape[1]
        # (B,H,Q,K) -> (B,G,H/G·Q,K): the queries of a group are rows of one product, and no value is repeated.
        return (weights.reshape(rows, groups, -1, keys) @ v).view(rows, heads, queries, -1)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, scores: Scores, record: list[Tensor] | None) -> Tensor:
        """Attention (B,H,Q,D) of q (B,H,Q,D) over k and v (B,G,K,D); appends the weights to `record` if it is given."""
        weights = self.drop(self.weights(q, k, scores))
        if record is not None:
            record.append(weights)
        return self.gather(weights, v)


def repeat_kv(k: Tensor, num_heads: int) -> Tensor:
    """(B,G,K,D) -> (B,H,K,D): repeat each key or value head for every query head of its group."""
    return k if k.shape[1] == num_heads else k.repeat_interleave(num_heads // k.shape[1], dim=1)


def wide(x: Tensor) -> Tensor:
    """x in float32 or wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normed(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """`norm` of x (…, D), computed in float32 or wider, also under autocast."""
    return functional.rms_norm(wide(x), norm.normalized_shape, wide(norm.weight), norm.eps).to(x.dtype)
