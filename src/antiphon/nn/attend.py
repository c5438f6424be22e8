"""The only place where dot-product softmax attention is computed.

`plan` (scores.py) says what a rule hides and adds; `attend` computes softmax(q·k·scale, after the rule and the mask)·v.
Back ends share one signature: `eager` is the definition, the others are accelerators that must equal it. Queries of a
group that shares keys (grouped-query attention, Ainslie et al. 2023) are folded, so keys are never repeated.

Shapes: q (B,H,Q,D), k and v (B,G,K,D) with G key-value heads, G dividing H; the result is (B,H,Q,D).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from antiphon.nn.scores import Scores, plan

__all__ = ["BACKENDS", "CHOICES", "Dropping", "attend", "choose", "eager", "logits", "plan", "sdpa", "weigh"]

Dropping = Callable[[Tensor], Tensor]


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
    """PyTorch's fused attention; without weights, attention dropout, sinks or rules that need the logits."""
    assert dropout is None and not needs_eager(scores)
    mask = scores.visible
    if scores.bias is not None:
        mask = scores.bias.to(q.dtype)
        mask = mask if scores.visible is None else mask.masked_fill(~scores.visible, float("-inf"))
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=k.shape[1] != q.shape[1])
    # Some back ends give NaN, others zero, for a query without keys.
    return (out if scores.seeing is None else out.masked_fill(~scores.seeing, 0.0)), None


def needs_eager(scores: Scores) -> bool:
    """Whether only the definition can compute what the rule asks for."""
    return scores.rule.needs_logits or scores.extra is not None


BACKENDS = {"eager": eager, "sdpa": sdpa}
CHOICES = ("auto", *BACKENDS)


def choose(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str:
    """The back end that was fastest where it was measured (`benchmarks/attention.py`) and can compute this.

    On a CPU short rows are faster as batched products, and a bias that needs a gradient drops SDPA to its math path.
    """
    if dropout is not None or needs_eager(scores):
        return "eager"
    learned = scores.bias is not None and scores.bias.requires_grad
    if q.device.type == "cpu":
        return "eager" if q.shape[2] * k.shape[2] < 256 * 256 or learned else "sdpa"
    return "sdpa"


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scores: Scores,
    *,
    scale: float,
    dropout: Dropping | None = None,
    backend: str = "auto",
    record: list[Tensor] | None = None,
) -> Tensor:
    """Attention of q over k and v, (B,H,Q,D). A back end named that cannot compute this falls back to `eager`.

    Where `record` is given the weights (B,H,Q,K) are appended to it, which only `eager` has.
    """
    if record is not None:
        out, weights = eager(q, k, v, scores, scale=scale, dropout=dropout)
        assert weights is not None
        record.append(weights)
        return out
    name = choose(q, k, scores, dropout=dropout) if backend == "auto" else backend
    if name == "sdpa" and (dropout is not None or needs_eager(scores)):
        name = "eager"
    return BACKENDS[name](q, k, v, scores, scale=scale, dropout=dropout)[0]
