"""The two back ends that compute every pair of query and key: the definition, and PyTorch's fused attention.

With grouped-query attention (Ainslie et al. 2023) the queries of a group are folded into one product, so keys are not
repeated.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from antiphon.nn.backends.backend import Backend, Dropping
from antiphon.nn.scores import Scores


def logits(q: Tensor, k: Tensor, scores: Scores, *, scale: float) -> Tensor:
    """q·k·scale after the rule, (B,H,Q,K), before the mask."""
    q = q * scale
    return scores.apply(_fold_matmul(q, k.transpose(-1, -2)), q)


def weigh(
    logits: Tensor,
    visible: Tensor | None,
    seeing: Tensor | None = None,
    dropout: Dropping | None = None,
    *,
    extra: Tensor | None = None,
) -> Tensor:
    """Softmax over visible keys, (B,H,Q,K); zeros for a query that sees none. `visible`, `seeing` and `extra` as in
    `Scores`."""
    if visible is not None:
        logits = logits.masked_fill(~visible, torch.finfo(logits.dtype).min)
    if extra is None:
        weights = torch.softmax(logits, dim=-1)
    else:
        rows, _, queries, keys = logits.shape
        sinks = extra.to(logits.dtype)[None, :, None].expand(rows, -1, queries, -1)
        weights = torch.softmax(torch.cat([logits, sinks], dim=-1), dim=-1)[..., :keys]
    if seeing is not None:
        weights = weights.masked_fill(~seeing, 0.0)
    return weights if dropout is None else dropout(weights)


def _fold_matmul(left: Tensor, right: Tensor) -> Tensor:
    """left (B,H,Q,X) @ right (B,G,X,Y) -> (B,H,Q,Y): the H/G queries of a group are rows of one product."""
    batch, heads, length, _ = left.shape
    groups = right.shape[1]
    if groups == heads:
        return left @ right
    folded = left.reshape(batch, groups, heads // groups * length, left.shape[-1])  # (B, H, Q, X) -> (B, G, H/G·Q, X)
    return (folded @ right).view(batch, heads, length, right.shape[-1])


def eager(
    q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
) -> tuple[Tensor, Tensor | None]:
    """The definition: the output (B,H,Q,D) and the weights (B,H,Q,K)."""
    found = logits(q, k, scores, scale=scale)
    weights = weigh(found, scores.visible, scores.seeing, dropout, extra=scores.extra).to(v.dtype)
    return _fold_matmul(weights, v), weights


def sdpa(
    q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
) -> tuple[Tensor, Tensor | None]:
    """PyTorch's fused attention. Supports no weights, attention dropout, sinks, or rules that need the logits."""
    assert dropout is None and not needs_eager(scores)
    mask = scores.visible if scores.bias is None else _joined(scores, q.dtype)
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=k.shape[1] != q.shape[1])
    # Some back ends give NaN, others zero, for a query without keys.
    return (out if scores.seeing is None else out.masked_fill(~scores.seeing, 0.0)), None


def _joined(scores: Scores, dtype: torch.dtype) -> Tensor:
    """The bias, with -inf for hidden pairs; computed once for all layers of a forward.

    On a CPU it is float32 also for 16-bit queries: bfloat16 would round a bias of 80 by up to 0.25.
    """
    if dtype in (torch.float16, torch.bfloat16) and scores.queries.pos.device.type == "cpu":
        dtype = torch.float32
    key = ("joined", id(scores), dtype)
    found = scores.queries.memo.get(key)
    if found is None:  # stored with `scores`, so that no other object gets its id during this forward
        assert scores.bias is not None
        mask = scores.bias.to(dtype)
        mask = mask if scores.visible is None else mask.masked_fill(~scores.visible, float("-inf"))
        found = scores.queries.memo[key] = (mask, scores)
    return found[0]  # type: ignore[index]


def needs_eager(scores: Scores) -> bool:
    """Whether `eager`, but not `sdpa`, can compute this rule."""
    return scores.rule.needs_logits or scores.extra is not None


def _never(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str | None:
    return None


def _sdpa_refuses(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str | None:
    if dropout is not None:
        return "it has no dropout of its own bits"
    if scores.rule.needs_logits:
        return "the rule's score is more than a bias"
    return "it has no extra keys" if scores.extra is not None else None


EAGER = Backend("eager", eager, _never)
SDPA = Backend("sdpa", sdpa, _sdpa_refuses)
