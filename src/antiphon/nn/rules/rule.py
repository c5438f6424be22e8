"""Score rules: variants of dot-product softmax attention, defined once for training and decoding.

A rule is a function of positions and logits. It does not depend on memory layouts, caches or back ends, and has no
state for a row. Its arguments broadcast: `batch` (B,1,1,1), `head` (1,H,1,1), `q_pos` (B or 1,1,Q,1), `k_pos`
(B or 1,1,1,K); `head` is the query head. An example::

    class Fade(ScoreRule):
        additive = True
        def score(self, score, batch, head, q_pos, k_pos):
            return score - 0.1 * (q_pos - k_pos).abs()

Rules compose with `&`: scores are applied from left to right, and a key is visible if both masks allow it. The stack
adds the masks of padding and causality. A rule computes in float32 or wider, also in a network of a smaller type: in
bfloat16 few distances are distinct.
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

# The reach of a query to the left and to the right (None: not bounded), and the number of always visible first keys.
Reach = tuple[int | None, int | None, int]


class TermTable:
    """The result of `terms` (B,H,Q,R), as `score` gets it: `table[index]` is (B,H,Q,K), one term for each pair."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __getitem__(self, index: Tensor) -> Tensor:
        """The terms at `index`, int64 in 0..R-1, which broadcasts to (B,H,Q,K)."""
        rows, heads, queries, _ = self.values.shape
        return self.values.gather(-1, index.expand(rows, heads, queries, index.shape[-1]))


class ScoreRule(Part):
    """Base class of score rules. Override the hooks that the variant needs; the defaults change nothing."""

    additive: ClassVar[bool] = False  # score(s) == s + score(0): computed once a forward and shared by the layers
    per_layer: ClassVar[bool] = False  # each layer has its own parameters, instead of one set for the stack
    reach: Reach | None = None
    role: str | None = None  # its role, for messages; set by the stack

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        """Create the parameters, with heads as their first dimension. `role` is `encoder`, `decoder` or `cross`."""

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor | None:
        """Bool, broadcast to (B,H,Q,K): whether the query sees the key. None: always."""
        return None

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        """The logit under this rule; must be finite and differentiable for masked pairs too.

        If the rule has `terms`, `score` gets them as a sixth argument, a `TermTable`.
        """
        return score

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        """Transform queries (B,H,Q,D) at `pos` (B or 1,1,Q,1), each independently of the others."""
        return q

    def prepare_k(self, k: Tensor, pos: Tensor) -> Tensor:
        """Transform keys (B,H,K,D) at `pos` (B or 1,1,K,1), each independently of the others, before caching."""
        return k

    def terms(self, q: Tensor) -> Tensor | None:
        """A table (B,H,Q,R) of the scaled queries (B,H,Q,D), which `score` indexes, as for Shaw's relative keys."""
        return None

    def extra(self) -> Tensor | None:
        """Logits (H,E) of E keys without values in the softmax, without mask and score: attention sinks."""
        return None

    def __and__(self, other: ScoreRule) -> ScoreRule:
        return ComposedRule(self, other)

    @property
    def scores(self) -> bool:
        """Whether this rule changes logits at all."""
        return type(self).score is not ScoreRule.score

    @property
    def needs_logits(self) -> bool:
        """Whether its score depends on the logits, so that it is not a bias by position only."""
        return self.scores and not self.additive

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def wide(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved.float() if moved.dtype in (torch.float16, torch.bfloat16) else moved

        return super()._apply(wide, recurse)


def name_of(rule: ScoreRule) -> str:
    """The name of a rule and its role, for messages."""
    parts = parts_of(rule)
    role = next((part.role for part in parts if part.role), None)
    whole = " & ".join(type(part).__name__ for part in parts)
    return f"the rule `{whole}`" + (f" of the {role} attention" if role else "")


@register("attention", "full")
class Full(ScoreRule):
    """Every query sees every key: plain scaled dot-product attention (Vaswani et al. 2017, eq. 1)."""

    additive = True


class ComposedRule(ScoreRule):
    """Two rules: the score of the left one is applied first; a key is visible if both allow it.

    `per_layer`: whether a part has its own parameters in each layer. `for_layer` shares the other parts.
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
        """The common reach of both rules, which may depend on their role."""
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
        """The logit under both rules. `terms`: a table or None for each of `parts_of`; may be left out if no part has
        terms."""
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
    """The rules of a composition, in the order in which their scores are applied."""
    return [*parts_of(rule.left), *parts_of(rule.right)] if isinstance(rule, ComposedRule) else [rule]


def for_layer(rule: ScoreRule) -> ScoreRule:
    """`rule` for another layer: parts with `per_layer` are copied, all others are shared."""
    if not rule.per_layer:
        return rule
    return (
        ComposedRule(for_layer(rule.left), for_layer(rule.right))
        if isinstance(rule, ComposedRule)
        else copy.deepcopy(rule)
    )


def shared_parts(rule: ScoreRule) -> list[ScoreRule]:
    """The parts of `rule` that layers share: itself, or the largest compositions in it without `per_layer`."""
    if not rule.per_layer:
        return [rule]
    return [*shared_parts(rule.left), *shared_parts(rule.right)] if isinstance(rule, ComposedRule) else []


def hide(module: nn.Module, name: str) -> None:
    """Unregister the submodule `name` of `module`, whose parameters another module owns; it remains an attribute."""
    part = module._modules.pop(name, None)
    if part is not None:
        object.__setattr__(module, name, part)


def hide_shared(rule: ScoreRule) -> None:
    """Unregister the shared parts of `rule`, a result of `for_layer`; another module owns their parameters."""
    if isinstance(rule, ComposedRule) and rule.per_layer:
        for name, part in (("left", rule.left), ("right", rule.right)):
            hide_shared(part) if part.per_layer else hide(rule, name)


def score_after(rule: ScoreRule, score: Tensor, places: tuple[Any, ...], tables: Sequence[Any]) -> Tensor:
    """The logit after all parts of `rule`; `tables`: the terms of each part, or None."""
    for part, table in zip(parts_of(rule), tables, strict=True):
        score = part.score(score, *places) if table is None else part.score(score, *places, table)  # type: ignore[call-arg]
    return score


def _meet(left: Reach | None, right: Reach | None) -> Reach | None:
    if left is None or right is None:
        return right if left is None else left

    def least(a: int | None, b: int | None) -> int | None:
        return b if a is None else a if b is None else min(a, b)

    # An upper bound: pairs within reach may be masked, but pairs out of reach are never visible. A first key that only
    # one rule always shows may be within the other's window.
    return least(left[0], right[0]), least(left[1], right[1]), max(left[2], right[2])


def _flat(rule: ScoreRule) -> list[object]:
    """The specs of the rules of a composition."""
    return [part.spec for part in parts_of(rule)]
