"""The only place where dot-product softmax attention is computed.

`plan` turns a score rule and positions into a `Scores` (what is visible, what is added), once a forward for each
distinct rule and keys; `attend` then computes softmax(q·k·scale, after the rule and the mask)·v. Back ends share one
signature: `eager` is the definition, `sdpa` an accelerator that must equal it. Queries of a group that shares keys
(grouped-query attention, Ainslie et al. 2023) are folded, so keys are never repeated.

Shapes: q (B,H,Q,D), k and v (B,G,K,D) with G key-value heads, G dividing H; the result is (B,H,Q,D).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from antiphon.batch import Tokens
from antiphon.nn.rules import ScoreRule

Dropping = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a rule says about one set of queries and keys.

    `visible` (B or 1, 1 or H, Q, K) bool (None: everything); `seeing` (B or 1, 1 or H, Q, 1) bool, which queries see
    any key (None: all); `bias` (B or 1, 1 or H, Q, K) of an additive rule; `rule` with its `places` for a rule that
    needs the logits.
    """

    visible: Tensor | None
    seeing: Tensor | None
    bias: Tensor | None
    rule: ScoreRule | None
    places: tuple[Tensor, Tensor, Tensor, Tensor]

    def apply(self, logits: Tensor) -> Tensor:
        """Logits (B,H,Q,K) after the rule, before the mask."""
        if self.bias is not None:
            return logits + self.bias.to(logits.dtype)
        if self.rule is not None:
            return self.rule.score(logits, *self.places)
        return logits


def plan(rule: ScoreRule, queries: Tokens, keys: Tokens, *, causal: bool, num_heads: int) -> Scores:
    """What `rule` says for these positions; shared through `queries.memo` by all layers of one forward."""
    key = (id(rule), id(keys), causal)
    found = queries.memo.get(key)
    if found is None:
        found = _plan(rule, queries, keys, causal=causal, num_heads=num_heads)
        # Keeping `keys` alive keeps its id from being given to another object within this forward.
        queries.memo[key] = (found, keys)
    else:
        found = found[0]  # type: ignore[index]
    assert isinstance(found, Scores)
    return found


def _plan(rule: ScoreRule, queries: Tokens, keys: Tokens, *, causal: bool, num_heads: int) -> Scores:
    device = queries.pos.device
    q_pos, k_pos = queries.pos[:, None, :, None], keys.pos[:, None, None, :]
    rows = max(q_pos.shape[0], k_pos.shape[0])
    batch = torch.arange(rows, device=device).view(-1, 1, 1, 1)
    head = torch.arange(num_heads, device=device).view(1, -1, 1, 1)
    visible = (k_pos >= 0).expand(-1, -1, queries.pos.shape[1], -1)
    if queries.segment is not None and keys.segment is not None:
        visible = visible & (queries.segment[:, None, :, None] == keys.segment[:, None, None, :])
    if causal:
        earlier = k_pos <= q_pos
        if queries.prefix is not None and keys.prefix is not None:
            earlier = earlier | (queries.prefix[:, None, :, None] & keys.prefix[:, None, None, :])
        visible = visible & earlier
    allowed = rule.mask(batch, head, q_pos, k_pos)
    if allowed is not None:
        visible = visible & allowed
    seeing = shown = None
    if device.type != "cpu" or not bool(
        visible.all()
    ):  # on a GPU this look would stall the queue, and a fill costs little
        shown, seeing = visible, visible.any(-1, keepdim=True)
        if device.type == "cpu" and bool(seeing.all()):
            seeing = None
    bias = None
    if rule.scores and rule.additive:
        zero = torch.zeros((), device=device)
        bias = rule.score(zero, batch, head, q_pos, k_pos)
    asked = rule if rule.scores and not rule.additive else None
    return Scores(shown, seeing, bias, asked, (batch, head, q_pos, k_pos))


def logits(q: Tensor, k: Tensor, scores: Scores, *, scale: float) -> Tensor:
    """q·k·scale after the rule, (B,H,Q,K), before the mask."""
    return scores.apply(_fold_matmul(q * scale, k.transpose(-1, -2)))


def weigh(
    logits: Tensor, visible: Tensor | None, seeing: Tensor | None = None, dropout: Dropping | None = None
) -> Tensor:
    """Softmax over visible keys, (B,H,Q,K); zeros for a query that sees none. `visible` and `seeing` as in `Scores`."""
    if visible is not None:
        logits = logits.masked_fill(~visible, torch.finfo(logits.dtype).min)
    weights = torch.softmax(logits, dim=-1)
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
    weights = weigh(logits(q, k, scores, scale=scale), scores.visible, scores.seeing, dropout)
    return _fold_matmul(weights, v), weights


def sdpa(
    q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
) -> tuple[Tensor, Tensor | None]:
    """PyTorch's fused attention; without weights, attention dropout or rules that need the logits."""
    assert dropout is None and scores.rule is None
    mask = scores.visible
    if scores.bias is not None:
        mask = scores.bias.to(q.dtype)
        mask = mask if scores.visible is None else mask.masked_fill(~scores.visible, float("-inf"))
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=k.shape[1] != q.shape[1])
    # Some back ends give NaN, others zero, for a query without keys.
    return (out if scores.seeing is None else out.masked_fill(~scores.seeing, 0.0)), None


BACKENDS = {"eager": eager, "sdpa": sdpa}
CHOICES = ("auto", *BACKENDS)


def choose(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str:
    """The back end that was fastest where it was measured (`benchmarks/attention.py`) and can compute this.

    On a CPU short rows are faster as batched products, and a bias that needs a gradient drops SDPA to its math path.
    """
    if dropout is not None or scores.rule is not None:
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
    if name == "sdpa" and (dropout is not None or scores.rule is not None):
        name = "eager"
    return BACKENDS[name](q, k, v, scores, scale=scale, dropout=dropout)[0]
