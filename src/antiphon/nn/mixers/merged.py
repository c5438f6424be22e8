"""Cross-attention merged into self-attention: one softmax over the tokens of the target and of the source.

attention: {decoder: {window: 128}, cross: merged}
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.errors import ConfigError
from antiphon.nn.attend import logits, plan, weigh
from antiphon.nn.attention import Attention
from antiphon.nn.cache import KeyValueCache, to_cache_type
from antiphon.nn.layers import type_of
from antiphon.nn.mixers import Memory, Mixer, join_heads
from antiphon.nn.mixers.heads import FULL
from antiphon.nn.noise import Noise
from antiphon.nn.rules import RotaryPositions, parts_of
from antiphon.nn.scores import Scores, all_true
from antiphon.nn.state import MemoryState, State
from antiphon.registry import register


@register("attention", "merged")
class Merged(Mixer):
    """The cross-attention of a layer whose self-attention reads the source too (Zhang et al. 2025, T5Gemma 2, section
    2.2, "merged attention"): the layer has one attention, whose softmax is over the tokens of the target so far and of
    the source.

    It has no weights: queries, keys, values and output are projected by the self-attention of its layer, which must be
    dot-product attention under a rule. Keys of the source are prepared as those of the target, but have no rotary
    positions; the rule's mask and score apply to pairs of target tokens only, and every source token is visible.
    """

    takes = ("num_kv_heads", "attention_scale", "attention_dropout", "rotary")
    _own: Attention

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        if role != "cross":
            raise ConfigError(
                f"`merged` must be the cross-attention of a decoder, but is the attention of the {role}. Write "
                "`attention: {cross: merged}`; the rule of `decoder` is that of the target's tokens."
            )
        self.role = role

    def join(self, own: Mixer) -> None:
        """Read the source by `own`, the self-attention of the layer, which owns the weights."""
        if not isinstance(own, Attention):
            raise ConfigError(
                f"`merged` must stand in a layer whose self-attention is a rule, as `full`, but it is {own.called}. "
                "Use a rule for the decoder, or `full` for `cross`."
            )
        object.__setattr__(self, "_own", own)  # not a submodule

    @property
    def own(self) -> Attention:
        """The self-attention of the layer."""
        return self._own

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        assert memory is not None
        own, dtype = self._own, self._own.cache_dtype or type_of(self._own.q).dtype
        k, v = own.heads(memory.hidden, own.k, own.v)
        for part in parts_of(own.rule):
            if not isinstance(part, RotaryPositions):
                k = own.prepared(part.prepare_k, k, memory.tokens)
        return MemoryState(memory.tokens, k=to_cache_type(k, dtype), v=to_cache_type(v, dtype))

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        raise AssertionError("merged attention is computed with the self-attention of its layer, by `with_own`")

    def with_own(
        self, x: Tensor, tokens: Tokens, folded: Tokens, state: State | None, memory: MemoryState
    ) -> tuple[Tensor, State | None]:
        """Attention of x (N·W, L, D) over the target tokens so far and the source, and the new state of the former.

        `folded` are the tokens of all W hypotheses of a source in one row, `state` that of the self-attention, and
        `memory` that of `begin`.
        """
        own = self._own
        q, k, v = own.heads(x, own.q, own.k, own.v)
        q, k, keys = own.queries(q, tokens), own.keys(k, tokens), tokens
        if isinstance(state, KeyValueCache):
            k, v, keys = state.update(k, v, tokens)
        pairs = plan(own.rule, tokens, keys, causal=True, num_heads=own.num_heads)
        across = plan(FULL, folded, memory.tokens, causal=False, num_heads=own.num_heads)
        # The keys of a source are read once for all its hypotheses: only logits and weights are rearranged.
        width = folded.pos.shape[1] // tokens.pos.shape[1]
        source_k, source_v, k, v = (each.to(q.dtype) for each in (memory.source["k"], memory.source["v"], k, v))
        assert own.scale is not None
        found = [
            logits(q, k, pairs, scale=own.scale),
            unfolded(logits(folded_heads(q, width), source_k, across, scale=own.scale), width),
        ]
        visible, seeing = _visible(pairs, across, width, found)
        weights = weigh(torch.cat(found, -1), visible, seeing, own.dropping(), extra=pairs.extra).to(v.dtype)
        mine, read = weights[..., : k.shape[2]], weights[..., k.shape[2] :]
        read = folded_heads(read, width)
        for record, part in ((own.recorder(tokens, state), mine), (self.recorder(folded, memory), read)):
            if record is not None:
                record.append(part)
        mixed = grouped(mine, v) + unfolded(grouped(read, source_v), width)
        return own.o(join_heads(mixed)), state


def folded_heads(x: Tensor, width: int) -> Tensor:
    """(N·W, H, L, D) -> (N, H, W·L, D)"""
    if width == 1:
        return x
    rows, heads, length, dim = x.shape
    return x.view(-1, width, heads, length, dim).transpose(1, 2).reshape(rows // width, heads, width * length, dim)


def unfolded(x: Tensor, width: int) -> Tensor:
    """(N, H, W·L, D) -> (N·W, H, L, D)"""
    if width == 1:
        return x
    rows, heads, length, dim = x.shape
    return x.view(rows, heads, width, -1, dim).transpose(1, 2).reshape(rows * width, heads, length // width, dim)


def grouped(weights: Tensor, v: Tensor) -> Tensor:
    """The sums (B, H, Q, D) of the values (B, G, K, D) by the weights (B, H, Q, K); a group shares its values."""
    rows, heads, queries, keys = weights.shape
    groups = v.shape[1]
    return (weights.reshape(rows, groups, heads // groups * queries, keys) @ v).view(rows, heads, queries, -1)


def _visible(pairs: Scores, across: Scores, width: int, found: list[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """The visible pairs (B or 1, 1 or H, L, K + S) and the queries that see any key; None: all. Computed once for the
    layers of a forward with these scores."""
    key = ("merged", id(pairs), id(across))
    stored = pairs.queries.memo.get(key)
    if stored is None:  # stored with the scores, so that no other object gets their ids during this forward
        stored = pairs.queries.memo[key] = (*_joined(pairs.visible, across.visible, width, found), pairs, across)
    visible, seeing, *_ = stored  # type: ignore[misc]
    return visible, seeing


def _joined(
    own: Tensor | None, source: Tensor | None, width: int, found: list[Tensor]
) -> tuple[Tensor | None, Tensor | None]:
    if own is None and source is None:
        return None, None
    length = found[0].shape[2]
    if source is not None and width > 1:
        # Each hypothesis of a source sees the same of it.
        source = source[:, :, :length]
        source = source if source.shape[0] == 1 else source.repeat_interleave(width, dim=0)
    masks = [
        found[0].new_ones(1, 1, length, logit.shape[3], dtype=torch.bool) if mask is None else mask
        for mask, logit in zip((own, source), found, strict=True)
    ]
    rows, heads = (max(mask.shape[dim] for mask in masks) for dim in (0, 1))
    visible = torch.cat([mask.expand(rows, heads, length, -1) for mask in masks], dim=-1)
    seeing = visible.any(-1, keepdim=True)
    return visible, None if all_true(seeing) else seeing
