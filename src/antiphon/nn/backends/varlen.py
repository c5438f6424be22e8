"""Attention over concatenated rows of different lengths, without padding: PyTorch's variable-length Flash Attention
(Dao 2023, FlashAttention-2), on a GPU, in half precision.

Plain attention only: no bias, and no mask but padding, segments and causality. Padding and pairs of different segments
are not computed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from antiphon.batch import Tokens
from antiphon.nn.backends.backend import Backend, Dropping
from antiphon.nn.backends.blocks import same, whole
from antiphon.nn.rules import ScoreRule, parts_of
from antiphon.nn.scores import Scores

HALF = (torch.float16, torch.bfloat16)


class PackedRows(NamedTuple):
    """The T tokens of rows without padding: their indices `places` (T,) in the flattened rows, the `starts` (S+1,) of
    the S sequences, int32, and the length of the longest sequence."""

    places: Tensor
    starts: Tensor
    longest: int


def ragged(tokens: Tokens, rows: int) -> PackedRows:
    """The sequences (rows or their segments) of tokens for which `whole` is true."""
    pos = tokens.pos.expand(rows, -1)
    segment = (pos >= 0).long() if tokens.segment is None else tokens.segment.expand(rows, -1).masked_fill(pos < 0, 0)
    begins = ((segment > 0) & (segment != pad(segment, (1, -1)))).flatten()
    index = (segment > 0).flatten().nonzero()[:, 0]
    starts = pad(begins[index].nonzero()[:, 0], (0, 1), value=index.numel())
    longest = int(starts.diff().max()) if index.numel() else 0
    return PackedRows(index, starts.to(torch.int32), longest)


def kernel(q: Tensor, k: Tensor, v: Tensor, found: PackedRows, *, scale: float, causal: bool) -> Tensor:
    """q (T,H,D), k and v (T,G,D) -> (T,H,D)."""
    from torch.nn.attention.varlen import varlen_attn

    window = (-1, 0) if causal else (-1, -1)
    starts, longest = found.starts, found.longest
    grouped = k.shape[1] != q.shape[1]
    out = varlen_attn(q, k, v, starts, starts, longest, longest, scale=scale, window_size=window, enable_gqa=grouped)
    assert isinstance(out, Tensor)
    return out


def varlen(
    q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
) -> tuple[Tensor, Tensor | None]:
    """Plain attention over the tokens without padding; zeros at padding. Returns no weights."""
    assert dropout is None
    rows, heads, length, dim = q.shape
    key = ("varlen", id(scores), rows)
    found = scores.queries.memo.get(key)
    if found is None:
        found = scores.queries.memo[key] = ragged(scores.queries, rows)
    assert isinstance(found, PackedRows)
    # (B, H, L, D) -> (B·L, H, D) -> (T, H, D)
    q, k, v = (x.transpose(1, 2).flatten(0, 1).index_select(0, found.places) for x in (q, k, v))
    out = kernel(q, k, v, found, scale=scale, causal=scores.causal)
    flat = out.new_zeros(rows * length, heads, dim).index_copy(0, found.places, out)
    return flat.view(rows, length, heads, dim).transpose(1, 2), None


def _refuses(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str | None:
    if q.device.type != "cuda" or q.dtype not in HALF:
        return "it needs a GPU and half precision"
    return plain_refuses(scores, dropout=dropout)


def plain_refuses(scores: Scores, *, dropout: Dropping | None) -> str | None:
    """The reason why this is not plain self-attention of whole sequences; None if it is."""
    if dropout is not None:
        return "it has no dropout of its own bits"
    parts = parts_of(scores.rule)
    if scores.rule.scores or scores.extra is not None or any(type(part).mask is not ScoreRule.mask for part in parts):
        return "the rule is more than plain attention"
    if scores.queries.prefix is not None:
        return "it knows no bidirectional prefix"
    if not same(scores.queries, scores.keys):
        return "queries and keys are not the same tokens"
    return None if whole(scores.queries) else "the tokens of a row are not neighbours with rising positions"


VARLEN = Backend("varlen", varlen, _refuses, of_itself=True)
