"""The mask and the bias of a rule for one set of queries and keys, computed once a forward.

    scores = plan(rule, tokens, keys, causal=True, num_heads=8)      # shared by the layers of this forward
    scores.visible, scores.bias, scores.rule                         # computed on first use

The results of a user's rule are checked here, so that an error names the rule and both shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.errors import AntiphonError, AttentionError
from antiphon.nn.operations import operation
from antiphon.nn.rules import ScoreRule, TermTable, name_of, parts_of, score_after

T = TypeVar("T")


class CachedProperty(Generic[T]):
    """`functools.cached_property` without the lock that it has up to Python 3.11, at which a compiled graph breaks."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute, self.name = compute, compute.__name__

    def __get__(self, scores: Scores, kind: type | None = None) -> T:
        found = scores.__dict__[self.name] = self.compute(scores)
        return found


class Scores:
    """A rule on one set of queries and keys, of shape (B,H,Q,K). Quadratic tensors are computed on first use."""

    def __init__(self, rule: ScoreRule, queries: Tokens, keys: Tokens, *, causal: bool, num_heads: int) -> None:
        self.rule, self.queries, self.keys = rule, queries, keys
        self.causal, self.num_heads = causal, num_heads

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B,H,Q,K); B is 1 if all rows have the same positions."""
        rows = max(self.queries.pos.shape[0], self.keys.pos.shape[0])
        return rows, self.num_heads, self.queries.pos.shape[1], self.keys.pos.shape[1]

    @CachedProperty
    def places(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The arguments of a rule: batch (B,1,1,1), head (1,H,1,1), q_pos (B or 1,1,Q,1), k_pos (B or 1,1,1,K)."""
        q_pos, k_pos = self.queries.pos[:, None, :, None], self.keys.pos[:, None, None, :]
        batch = torch.arange(self.shape[0], device=q_pos.device).view(-1, 1, 1, 1)
        head = torch.arange(self.num_heads, device=q_pos.device).view(1, -1, 1, 1)
        return batch, head, q_pos, k_pos

    @CachedProperty
    def visible(self) -> Tensor | None:
        """(B or 1, 1 or H, Q, K) bool, the visible pairs; None: all."""
        met = self._met
        return None if all_true(met) else met

    @CachedProperty
    def seeing(self) -> Tensor | None:
        """(B or 1, 1 or H, Q, 1) bool, the queries that see any key; None: all."""
        if self.visible is None:
            return None
        seeing = self.visible.any(-1, keepdim=True)
        return None if all_true(seeing) else seeing

    @CachedProperty
    def _met(self) -> Tensor:
        visible = visible_by_tokens(self.queries, self.keys, causal=self.causal)
        allowed = _asked(self.rule, "mask", lambda: self.rule.mask(*self.places), self.places)
        if allowed is not None:
            _check(self.rule, "mask", allowed, self.shape, torch.bool)
            visible = visible & allowed
        return visible

    @CachedProperty
    def bias(self) -> Tensor | None:
        """(B or 1, 1 or H, Q, K) of an additive rule; None where nothing is added."""
        if not self.rule.scores or self.rule.needs_logits:
            return None
        zero = torch.zeros((), device=self.queries.pos.device)
        return self._scored(zero, [None] * len(parts_of(self.rule)))

    @CachedProperty
    def extra(self) -> Tensor | None:
        """The logits (H,E) of keys without values (`ScoreRule.extra`); None if there are none."""
        extra = _asked(self.rule, "extra", self.rule.extra, ())
        if extra is not None:
            _check(self.rule, "extra", extra, (self.num_heads, extra.shape[-1]), None)
        return extra

    def apply(self, logits: Tensor, q: Tensor) -> Tensor:
        """Logits (B,H,Q,K) under the rule, before the mask; q (B,H,Q,D) are the scaled queries."""
        if self.bias is None and not self.rule.needs_logits:
            return logits
        wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        if self.bias is not None:
            return wide + self.bias.to(wide.dtype)
        tables = [_table(part, q.to(wide.dtype)) for part in parts_of(self.rule)]
        return self._scored(wide, tables)

    def _scored(self, logits: Tensor, tables: list[TermTable | None]) -> Tensor:
        def run() -> Tensor:
            return score_after(self.rule, logits, self.places, tables)

        found = _asked(self.rule, "score", run, self.places)
        # Not torch.broadcast_shapes, which imports SymPy: 0.4 s.
        rows = logits.shape[:1] if logits.dim() and self.shape[0] == 1 else self.shape[:1]
        _check(self.rule, "score", found, (*rows, *self.shape[1:]), None)
        return found


def plan(rule: ScoreRule, queries: Tokens, keys: Tokens, *, causal: bool, num_heads: int) -> Scores:
    """The scores of `rule` for these tokens, stored in `queries.memo` for all layers of a forward."""
    key = (id(rule), id(keys), causal)
    found = queries.memo.get(key)
    if found is None:  # `found` keeps rule and keys alive, so that no other object gets their ids during this forward
        found = queries.memo[key] = Scores(rule, queries, keys, causal=causal, num_heads=num_heads)
    assert isinstance(found, Scores)
    return found


@operation
def all_true(mask: Tensor) -> bool:
    """Whether all of a bool tensor is true, so that no fill is needed. Always False on a GPU, where reading the value
    synchronizes and a fill is cheap, and in an exported graph, which must hold for every mask."""
    return mask.device.type == "cpu" and not torch.compiler.is_exporting() and bool(mask.all())


@operation
def visible_by_tokens(queries: Tokens, keys: Tokens, *, causal: bool) -> Tensor:
    """(B or 1, 1, Q, K) bool: the pairs that padding, segments and causality leave visible."""
    q_pos, k_pos = queries.pos[:, None, :, None], keys.pos[:, None, None, :]
    visible = (k_pos >= 0).expand(-1, -1, queries.pos.shape[1], -1)
    if queries.segment is not None and keys.segment is not None:
        visible = visible & (queries.segment[:, None, :, None] == keys.segment[:, None, None, :])
    if causal:
        earlier = k_pos <= q_pos
        if queries.prefix is not None and keys.prefix is not None:
            earlier = earlier | (queries.prefix[:, None, :, None] & keys.prefix[:, None, None, :])
        visible = visible & earlier
    return visible


def _table(part: ScoreRule, q: Tensor) -> TermTable | None:
    values = _asked(part, "terms", lambda: part.terms(q), ())
    if values is None:
        return None
    _check(part, "terms", values, (*q.shape[:3], values.shape[-1]), None)
    return TermTable(values.expand(*q.shape[:3], -1))


def _asked(rule: ScoreRule, hook: str, run: Callable[[], Any], places: tuple[Tensor, ...]) -> Any:
    """The result of a rule's hook; an exception of the user's code becomes an AttentionError that names the hook."""
    try:
        return run()
    except AntiphonError:
        raise
    except Exception as error:
        given = f" It was given {', '.join(str(tuple(place.shape)) for place in places)}." if places else ""
        raise AttentionError(f"`{hook}` of {name_of(rule)} raised {type(error).__name__}: {error}.{given}") from error


def _check(rule: ScoreRule, hook: str, found: Any, shape: tuple[int, ...], kind: torch.dtype | None) -> None:
    """AttentionError unless `found` is a tensor of `kind` (None: any floating one) that broadcasts to `shape`."""
    what = f"`{hook}` of {name_of(rule)}"
    if not isinstance(found, Tensor):
        raise AttentionError(f"{what} must give a tensor, but gave {type(found).__name__}.")
    if found.dtype != kind and not (kind is None and found.is_floating_point()):
        raise AttentionError(f"{what} must give {kind or 'floating-point numbers'}, but gave {found.dtype}.")
    sizes = (1,) * (len(shape) - found.dim()) + tuple(found.shape)
    if len(sizes) != len(shape) or any(size not in (1, full) for size, full in zip(sizes, shape, strict=True)):
        raise AttentionError(f"{what} must give a shape that broadcasts to {shape}, but gave {tuple(found.shape)}.")
