"""FlexAttention: a rule's own score and mask, compiled into one kernel (Dong et al. 2024, Flex Attention).

The rule is called with scalars: batch, head, and the positions of one query and one key; its terms are read for that
one pair. For GPUs. On a CPU there is no backward, and the function runs without compilation, which computes all logits
at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, create_block_mask, flex_attention

from antiphon.errors import AntiphonError, AttentionError
from antiphon.nn.backends.backend import Backend, Dropping, learned
from antiphon.nn.rules import ScoreRule, name_of, parts_of, score_after
from antiphon.nn.scores import Scores

RECOMPILE_LIMIT = 1_000_000  # compilations, one for each rule
Modifier = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class _Terms:
    """The terms (B,H,Q,R) of one query, as `score` reads them: `terms[index]` is one number."""

    def __init__(self, values: Tensor, place: tuple[Tensor, Tensor, Tensor]) -> None:
        self.values, self.place = values, place

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.values[(*self.place, index)]


def _row(tokens: Tensor) -> Callable[[Tensor], Tensor]:
    """A function from a row of the batch to the row of (B or 1, L)."""
    return torch.zeros_like if tokens.shape[0] == 1 else (lambda batch: batch)


def mask_of(scores: Scores) -> Modifier:
    """Whether one pair is visible under padding, segments, causality and the rule."""
    queries, keys, rule = scores.queries, scores.keys, scores.rule
    q_row, k_row = _row(queries.pos), _row(keys.pos)

    def mask(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        q_pos, k_pos = queries.pos[q_row(batch), query], keys.pos[k_row(batch), key]
        visible = k_pos >= 0
        if queries.segment is not None and keys.segment is not None:
            own, other = _row(queries.segment)(batch), _row(keys.segment)(batch)
            visible = visible & (queries.segment[own, query] == keys.segment[other, key])
        if scores.causal:
            earlier = k_pos <= q_pos
            if queries.prefix is not None and keys.prefix is not None:
                own, other = _row(queries.prefix)(batch), _row(keys.prefix)(batch)
                earlier = earlier | (queries.prefix[own, query] & keys.prefix[other, key])
            visible = visible & earlier
        allowed = rule.mask(batch if scores.shape[0] > 1 else torch.zeros_like(batch), head, q_pos, k_pos)
        return visible if allowed is None else visible & allowed

    return mask


def score_of(scores: Scores, tables: list[Tensor | None]) -> Callable[..., Tensor] | None:
    """The rule's score of one pair; None if it has none. `tables`: the terms (B,H,Q,R) of each part of the rule."""
    if not scores.rule.scores:
        return None
    queries, keys, rule = scores.queries, scores.keys, scores.rule
    q_row, k_row = _row(queries.pos), _row(keys.pos)

    def score(found: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        q_pos, k_pos = queries.pos[q_row(batch), query], keys.pos[k_row(batch), key]
        places = (batch if scores.shape[0] > 1 else torch.zeros_like(batch), head, q_pos, k_pos)
        read = [None if table is None else _Terms(table, (batch, head, query)) for table in tables]
        return score_after(rule, found, places, read)

    return score


def _block_mask(scores: Scores, rows: int) -> BlockMask:
    """The blocks that contain a visible pair; shared by the layers of a forward."""
    key = ("flex", id(scores), rows)
    found = scores.queries.memo.get(key)
    if found is None:
        own = any(type(part).mask is not ScoreRule.mask for part in parts_of(scores.rule))
        beside = (scores.queries.segment, scores.keys.segment, scores.queries.prefix, scores.keys.prefix)
        alike = scores.shape[0] == 1 and all(x is None or x.shape[0] == 1 for x in beside)
        device = scores.queries.pos.device
        found = scores.queries.memo[key] = create_block_mask(
            mask_of(scores),
            None if alike else rows,
            scores.num_heads if own else None,
            *scores.shape[2:],
            device=device,
            _compile=device.type == "cuda",
        )
    assert isinstance(found, BlockMask)
    return found


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=True)


def flex(
    q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
) -> tuple[Tensor, Tensor | None]:
    """Attention by FlexAttention, without weights. AttentionError for a rule that cannot be called with scalars."""
    assert dropout is None
    parts = parts_of(scores.rule)
    wide = q * scale if q.dtype == torch.float64 else (q * scale).float()
    terms = [part.terms(wide) for part in parts]
    tables = [None if table is None else table.expand(*q.shape[:3], -1) for table in terms]
    compute = _compiled() if q.device.type == "cuda" else flex_attention
    try:
        with warnings.catch_warnings(), ExitStack() as patches:
            warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
            if q.device.type == "cpu":  # each rule is traced anew; by default the ninth would be an error
                patches.enter_context(
                    torch._dynamo.config.patch(
                        recompile_limit=RECOMPILE_LIMIT, accumulated_recompile_limit=RECOMPILE_LIMIT
                    )
                )
            out, aux = compute(
                q,
                k,
                v,
                score_mod=score_of(scores, tables),
                block_mask=_block_mask(scores, q.shape[0]),
                scale=scale,
                enable_gqa=k.shape[1] != q.shape[1],
                return_aux=AuxRequest(lse=True),
            )
    except AntiphonError:
        raise
    except Exception as error:
        first = str(error).splitlines()[:1]
        raise AttentionError(
            f"{name_of(scores.rule)} cannot be computed by `flex` ({type(error).__name__}: {' '.join(first)}). "
            "Choose another back end, or write it without branches and reductions."
        ) from error
    assert aux.lse is not None, "return_aux requests it"
    unseen = aux.lse == -torch.inf
    if scores.extra is not None:  # keys without a value take a part of each query's weight
        out = out * torch.sigmoid(aux.lse - scores.extra.logsumexp(-1)[None, :, None])[..., None].to(out.dtype)
    return out.masked_fill(unseen[..., None], 0.0), None


def _refuses(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str | None:
    if dropout is not None:
        return "it has no dropout"
    if q.device.type not in ("cpu", "cuda"):
        return f"it does not run on {q.device.type}"
    asked = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad)
    if q.device.type == "cpu" and (asked or learned(scores)):
        return "it has no backward on a CPU"
    if q.device.type == "cuda" and q.dtype == torch.float64:
        return "it has no float64 on a GPU"
    return None


FLEX = Backend("flex", flex, _refuses)
