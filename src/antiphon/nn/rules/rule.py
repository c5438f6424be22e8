"""Score rules: one definition of a variant of dot-product softmax attention, for training, decoding, loading and
serving alike.

A rule sees positions and logits, never layouts, caches or back ends, and keeps nothing by row. Its arguments broadcast:
`batch` (B,1,1,1), `head` (1,H,1,1), `q_pos` (B or 1,1,Q,1), `k_pos` (B or 1,1,1,K); `head` is the query head. One of
your own::

    class Fade(ScoreRule):
        additive = True
        def score(self, score, batch, head, q_pos, k_pos):
            return score - 0.1 * (q_pos - k_pos).abs()

Rules compose with `&`: scores from left to right, masks together. The stack adds padding and causality, so a rule
cannot look ahead. A rule computes in float32 at least, also in a network of a smaller type: bfloat16 would tell few
distances apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from antiphon.errors import AttentionError
from antiphon.nn.part import Part
from antiphon.registry import register

# How far left and right a query sees (None: without bound), and how many first keys it always sees.
Reach = tuple[int | None, int | None, int]


class TermTable:
    """What a rule's `terms` gave, (B,H,Q,R), as its `score` reads it: `table[index]` is (B,H,Q,K), one term a pair."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __getitem__(self, index: Tensor) -> Tensor:
        """The terms at `index`, int64 in 0..R-1, which broadcasts to (B,H,Q,K)."""
        rows, heads, queries, _ = self.values.shape
        return self.values.gather(-1, index.expand(rows, heads, queries, index.shape[-1]))


class ScoreRule(Part):
    """Base class. Override what the variant needs; the defaults change nothing."""

    additive: ClassVar[bool] = False  # score(s) == s + score(0): computed once a forward and shared by the layers
    per_layer: ClassVar[bool] = False  # parameters of its own in each layer, instead of one set for the stack
    reach: Reach | None = None
    role: str | None = None  # where it stands, for messages; the stack says it

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        """Make the parameters, the first dimension of each by head. `role` is `encoder`, `decoder` or `cross`."""

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor | None:
        """Bool: may the query see the key? None: always."""
        return None

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        """The logit after this rule, finite and differentiable at hidden pairs too.

        A rule that has `terms` takes them as a sixth argument, a `TermTable`.
        """
        return score

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        """Queries (B,H,Q,D) at `pos` (B or 1,1,Q,1), each changed by itself alone."""
        return q

    def prepare_k(self, k: Tensor, pos: Tensor) -> Tensor:
        """Keys (B,H,K,D) at `pos` (B or 1,1,K,1), each changed by itself alone, before they enter a cache."""
        return k

    def terms(self, q: Tensor) -> Tensor | None:
        """(B,H,Q,R) of the scaled queries (B,H,Q,D): what `score` picks from by index, as Shaw's relative keys."""
        return None

    def extra(self) -> Tensor | None:
        """Logits (H,E) of keys without a value that join the softmax, outside mask and score: attention sinks."""
        return None

    def __and__(self, other: ScoreRule) -> ScoreRule:
        return ComposedRule(self, other)

    @property
    def scores(self) -> bool:
        """Whether this rule changes logits at all."""
        return type(self).score is not ScoreRule.score

    @property
    def needs_logits(self) -> bool:
        """Whether its score is more than a bias that is known before the queries are."""
        return self.scores and not self.additive

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def wide(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved.float() if moved.dtype in (torch.float16, torch.bfloat16) else moved

        return super()._apply(wide, recurse)


def name_of(rule: ScoreRule) -> str:
    """A rule and where it stands, as messages say it."""
    parts = parts_of(rule)
    role = next((part.role for part in parts if part.role), None)
    whole = " & ".join(type(part).__name__ for part in parts)
    return f"the rule `{whole}`" + (f" of the {role} attention" if role else "")


@register("attention", "full")
class Full(ScoreRule):
    """Every query sees every key: plain scaled dot-product attention (Vaswani et al. 2017, eq. 1)."""

    additive = True


class ComposedRule(ScoreRule):
    """Two rules at once: the left one's score first, then the right one's; visible where both allow it.

    `per_layer` says that some part has parameters of its own in each layer; `for_layer` keeps the others shared.
    """

    def __init__(self, left: ScoreRule, right: ScoreRule) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.additive = left.additive and right.additive  # type: ignore[misc]
        self.per_layer = left.per_layer or right.per_layer  # type: ignore[misc]

    def _derived(self) -> object:
        parts = _flat(self)
        return None if None in parts else {"all": parts}

    @property
    def reach(self) -> Reach | None:  # type: ignore[override]
        """What both reach, which may depend on the role that they were set up for."""
        return _meet(self.left.reach, self.right.reach)

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.left.setup(num_heads=num_heads, head_dim=head_dim, role=role)
        self.right.setup(num_heads=num_heads, head_dim=head_dim, role=role)

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor | None:
        left, right = self.left.mask(batch, head, q_pos, k_pos), self.right.mask(batch, head, q_pos, k_pos)
        return right if left is None else left if right is None else left & right

    def score(  # type: ignore[override]
        self,
        score: Tensor,
        batch: Tensor,
        head: Tensor,
        q_pos: Tensor,
        k_pos: Tensor,
        terms: Sequence[TermTable | None] | None = None,
    ) -> Tensor:
        """The logit after both. `terms` holds one table for each of `parts_of`, None for one without; where no part has
        any, it may be left out."""
        if terms is None and (owner := self._owner_of_terms()):
            raise AttentionError(
                f"`score` of {name_of(self)} needs the terms of `{owner}`, but was given none. "
                "Give `terms`: one table for each part, or None."
            )
        return score_after(self, score, (batch, head, q_pos, k_pos), terms or [None] * len(parts_of(self)))

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        return self.right.prepare_q(self.left.prepare_q(q, pos), pos)

    def prepare_k(self, k: Tensor, pos: Tensor) -> Tensor:
        return self.right.prepare_k(self.left.prepare_k(k, pos), pos)

    def terms(self, q: Tensor) -> Tensor | None:
        if owner := self._owner_of_terms():
            raise AttentionError(f"{name_of(self)} has no terms but those of its parts. Ask its `{owner}` for them.")
        return None

    def _owner_of_terms(self) -> str | None:
        """The first part that has terms."""
        owners = (part for part in parts_of(self) if type(part).terms is not ScoreRule.terms)
        return next((type(part).__name__ for part in owners), None)

    def extra(self) -> Tensor | None:
        found = [extra for extra in (self.left.extra(), self.right.extra()) if extra is not None]
        return torch.cat(found, dim=-1) if found else None

    @property
    def scores(self) -> bool:
        return self.left.scores or self.right.scores


def parts_of(rule: ScoreRule) -> list[ScoreRule]:
    """The rules that a rule is composed of, in the order of their scores."""
    return [*parts_of(rule.left), *parts_of(rule.right)] if isinstance(rule, ComposedRule) else [rule]


def for_layer(rule: ScoreRule) -> ScoreRule:
    """`rule` for one more layer: parts that say `per_layer` are copied, all others are the same objects."""
    if not rule.per_layer:
        return rule
    return (
        ComposedRule(for_layer(rule.left), for_layer(rule.right))
        if isinstance(rule, ComposedRule)
        else copy.deepcopy(rule)
    )


def shared_parts(rule: ScoreRule) -> list[ScoreRule]:
    """What layers share of `rule`: itself, or the largest compositions within it of which no part is `per_layer`."""
    if not rule.per_layer:
        return [rule]
    return [*shared_parts(rule.left), *shared_parts(rule.right)] if isinstance(rule, ComposedRule) else []


def hide(module: nn.Module, name: str) -> None:
    """Leave the parameters of the part `name` of `module` to another owner; it stays an attribute."""
    part = module._modules.pop(name, None)
    if part is not None:
        object.__setattr__(module, name, part)


def hide_shared(rule: ScoreRule) -> None:
    """Leave what layers share within `rule`, which is one of `for_layer`, to another owner."""
    if isinstance(rule, ComposedRule) and rule.per_layer:
        for name, part in (("left", rule.left), ("right", rule.right)):
            hide_shared(part) if part.per_layer else hide(rule, name)


def score_after(rule: ScoreRule, score: Tensor, places: tuple[Any, ...], tables: Sequence[Any]) -> Tensor:
    """The logit after all parts of `rule`; `tables` holds the terms of each part, None for one without."""
    for part, table in zip(parts_of(rule), tables, strict=True):
        score = part.score(score, *places) if table is None else part.score(score, *places, table)  # type: ignore[call-arg]
    return score


def _meet(left: Reach | None, right: Reach | None) -> Reach | None:
    if left is None or right is None:
        return right if left is None else left

    def least(a: int | None, b: int | None) -> int | None:
        return b if a is None else a if b is None else min(a, b)

    # A first key that only one rule always shows may stand within the other's window: what is within reach may be
    # hidden, but nothing beyond it is visible.
    return least(left[0], right[0]), least(left[1], right[1]), max(left[2], right[2])


def _flat(rule: ScoreRule) -> list[object]:
    """The specs of the rules that a rule is composed of."""
    return [part.spec for part in parts_of(rule)]
