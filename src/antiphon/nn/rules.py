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
cannot look ahead.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from antiphon.nn.part import Part
from antiphon.registry import register

Reach = tuple[
    int | None, int | None, int
]  # how far left and right a query sees (None: without bound), and how many first keys it always sees


class ScoreRule(Part):
    """Base class. Override what the variant needs; the defaults change nothing."""

    additive: ClassVar[bool] = False  # score(s) == s + score(0): computed once a forward and shared by the layers
    per_layer: ClassVar[bool] = False  # parameters of its own in each layer, instead of one set for the stack
    reach: Reach | None = None

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        """Make the parameters, the first dimension of each by head. `role` is `encoder`, `decoder` or `cross`."""

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor | None:
        """Bool: may the query see the key? None: always."""
        return None

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        """The logit after this rule, finite and differentiable at hidden pairs too."""
        return score

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        """Queries (B,H,Q,D) at `pos` (B or 1,1,Q,1), each changed by itself alone."""
        return q

    def prepare_k(self, k: Tensor, pos: Tensor) -> Tensor:
        """Keys (B,H,K,D) at `pos` (B or 1,1,K,1), each changed by itself alone, before they enter a cache."""
        return k

    def __and__(self, other: ScoreRule) -> ScoreRule:
        return Both(self, other)

    @property
    def scores(self) -> bool:
        """Whether this rule changes logits at all."""
        return type(self).score is not ScoreRule.score


@register("attention", "full")
class Full(ScoreRule):
    """Every query sees every key: plain scaled dot-product attention (Vaswani et al. 2017, eq. 1)."""

    additive = True


class Both(ScoreRule):
    """Two rules at once: the left one's score first, then the right one's; visible where both allow it."""

    def __init__(self, left: ScoreRule, right: ScoreRule) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.reach = _meet(left.reach, right.reach)
        self.additive = left.additive and right.additive  # type: ignore[misc]
        self.per_layer = left.per_layer or right.per_layer  # type: ignore[misc]

    def _derived(self) -> object:
        parts = _flat(self)
        return None if None in parts else {"all": parts}

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.left.setup(num_heads=num_heads, head_dim=head_dim, role=role)
        self.right.setup(num_heads=num_heads, head_dim=head_dim, role=role)

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor | None:
        left, right = self.left.mask(batch, head, q_pos, k_pos), self.right.mask(batch, head, q_pos, k_pos)
        return right if left is None else left if right is None else left & right

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return self.right.score(self.left.score(score, batch, head, q_pos, k_pos), batch, head, q_pos, k_pos)

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        return self.right.prepare_q(self.left.prepare_q(q, pos), pos)

    def prepare_k(self, k: Tensor, pos: Tensor) -> Tensor:
        return self.right.prepare_k(self.left.prepare_k(k, pos), pos)

    @property
    def scores(self) -> bool:
        return self.left.scores or self.right.scores


@register("attention", "window")
class Window(ScoreRule):
    """A query sees the keys less than `window` positions away; under a causal mask, to the left.

    Beltagy et al. 2020, Longformer, section 3.1.
    """

    additive = True

    def __init__(self, window: int) -> None:
        super().__init__()
        if not isinstance(window, int) or window < 1:
            raise ValueError(
                f"`window` must be a whole number of at least 1, but is {window!r}. With 1, a token sees itself"
            )
        self.window = window
        self.reach = (window - 1, window - 1, 0)

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return (q_pos - k_pos).abs() < self.window


@register("attention", "alibi")
class Alibi(ScoreRule):
    """A linear penalty on distance with a fixed slope a head; symmetric in an encoder.

    Press et al. 2022, ALiBi, section 3.
    """

    additive = True
    slopes: Tensor

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        power = 2 ** math.floor(math.log2(num_heads))
        slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
        # Heads beyond a power of two take every other slope of twice as many heads, as the paper's code does.
        slopes += [2 ** (-4 * (2 * i + 1) / power) for i in range(num_heads - power)]
        self.register_buffer("slopes", torch.tensor(slopes), persistent=False)

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return score - self.slopes[head] * (q_pos - k_pos).abs()


@register("attention", "relative")
class Relative(ScoreRule):
    """A learned bias for each head and bucket of relative distance (Raffel et al. 2020, T5, section 2.1; buckets as in
    its code).

    Half of the buckets hold one distance each, the rest grow logarithmically up to `max_distance`; in an encoder, half
    of all are for keys to the right.
    """

    additive = True

    def __init__(self, *, buckets: int = 32, max_distance: int = 128) -> None:
        super().__init__()
        if buckets < 4 or buckets % 2 or max_distance <= buckets // 2:
            raise ValueError(
                f"`buckets` must be even and at least 4, and `max_distance` more than half of it, "
                f"but they are {buckets} and {max_distance}."
            )
        self.buckets, self.max_distance, self.both_sides = buckets, max_distance, True

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.both_sides = role != "decoder"
        self.table = nn.Parameter(torch.randn(num_heads, self.buckets) * 0.02)

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return score + self.table[head, self.bucket(k_pos - q_pos)]

    def bucket(self, offset: Tensor) -> Tensor:
        """The bucket of each offset (key position minus query position), int64."""
        count, shift = self.buckets, 0
        if self.both_sides:
            count //= 2
            shift = (offset > 0).long() * count
            distance = offset.abs()
        else:
            distance = (-offset).clamp(min=0)
        exact = count // 2
        # In float32 as the reference; the clamp keeps the logarithm finite where it is not used.
        ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (ratio * (count - exact)).long()).clamp(max=count - 1)
        return shift + torch.where(distance < exact, distance, far)


def _meet(left: Reach | None, right: Reach | None) -> Reach | None:
    if left is None or right is None:
        return right if left is None else left

    def least(a: int | None, b: int | None) -> int | None:
        return b if a is None else a if b is None else min(a, b)

    return least(left[0], right[0]), least(left[1], right[1]), min(left[2], right[2])


def _flat(rule: ScoreRule) -> list[object]:
    """The specs of the rules that a rule is composed of."""
    return [*_flat(rule.left), *_flat(rule.right)] if isinstance(rule, Both) else [rule.spec]
