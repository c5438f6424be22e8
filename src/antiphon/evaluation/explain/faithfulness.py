"""A test of faithfulness by deletion: do the tokens that a method ranks first matter more to the model than others?

Tokens of the source are deleted in the order of their attributions. After each step the probability of the unit (a word
of the answer, or the label) is measured. DeYoung et al. 2020 (ERASER, section 4.2):

- comprehensiveness: the probability minus that without the first k tokens; large for a faithful order.
- sufficiency: the probability minus that with the first k tokens alone; small, or negative, for a faithful order.

Both are means over k, which runs over at most STEPS counts from 1 to all tokens but one, as the area over the deletion
curve does (Samek et al. 2017). Random orders are measured in the same way. Shapes: U units, S positions, K steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from antiphon.evaluation.bootstrap import ConfidenceInterval, interval_of
from antiphon.evaluation.explain.pair import ExplainedPair

STEPS = 10  # deletions that are measured
RANDOM_ORDERS = 10


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The deletion test of some units. For each unit: `full` (U,) its probability, `deleted` (U, K) and `kept` (U, K)
    its probability without the first k tokens, and with them alone; `random_deleted` and `random_kept` are the means
    over random orders. `shares` (U, K): k as a share of the tokens."""

    shares: Tensor
    full: Tensor
    deleted: Tensor
    kept: Tensor
    random_deleted: Tensor
    random_kept: Tensor

    @property
    def comprehensiveness(self) -> float:
        """The mean loss of probability when the first tokens are deleted."""
        return float((self.full[:, None] - self.deleted).mean())

    @property
    def random_comprehensiveness(self) -> float:
        """The same for random orders."""
        return float((self.full[:, None] - self.random_deleted).mean())

    @property
    def sufficiency(self) -> float:
        """The mean loss of probability when only the first tokens remain."""
        return float((self.full[:, None] - self.kept).mean())

    @property
    def random_sufficiency(self) -> float:
        """The same for random orders."""
        return float((self.full[:, None] - self.random_kept).mean())

    @property
    def gain(self) -> float:
        """Comprehensiveness above that of random orders: above 0, the order is better than chance."""
        return self.comprehensiveness - self.random_comprehensiveness

    @property
    def steps(self) -> int:
        """K, the number of deletions that were measured; 0 for a source of fewer than two tokens."""
        return self.deleted.shape[1]

    def curves(self) -> dict[str, list[tuple[float, float]]]:
        """The mean probability of the units by the percentage of deleted tokens, in this order and at random."""
        across = [0.0, *(100 * self.shares[0]).tolist()]
        start = float(self.full.mean())
        sides = {"in this order": self.deleted, "random order": self.random_deleted}
        return {
            name: list(zip(across, [start, *values.mean(0).tolist()], strict=True)) for name, values in sides.items()
        }

    def as_json(self) -> dict[str, Any]:
        """The figures, for programs; without an order to test, none."""
        if not self.steps:
            return {}
        names = ("comprehensiveness", "random_comprehensiveness", "sufficiency", "random_sufficiency", "gain")
        return {**{name: getattr(self, name) for name in names}, "curves": self.curves()}

    @property
    def verdict(self) -> str:
        """The result in words, for one line."""
        if not self.steps:
            return "the source has too few tokens to delete some"
        return f"{'better' if self.gain > 0 else 'not better'} than random order"


@dataclass(frozen=True)
class FaithfulnessTest:
    """The deletion test of many answers: the mean of each figure over answers, and `interval`, the 95 % interval of the
    gain over random order by bootstrap over answers. `incomplete`: for integrated gradients, whether the
    attributions of each answer are not complete."""

    method: str
    tests: list[Faithfulness]
    incomplete: list[bool] = field(default_factory=list)

    def mean(self, name: str) -> float:
        """The mean over answers of a figure of `Faithfulness`."""
        return sum(getattr(test, name) for test in self.tests) / len(self.tests)

    @cached_property
    def interval(self) -> ConfidenceInterval | None:
        """The 95 % interval of the mean gain; None for fewer than two answers."""
        if len(self.tests) < 2:
            return None
        rows = [(test.gain, 1.0) for test in self.tests]
        return interval_of(rows, lambda sums: sums[:, 0] / sums[:, 1])

    @property
    def better_than_random(self) -> bool:
        """Whether the whole interval of the gain is above 0."""
        return self.interval is not None and self.interval.low > 0


class DeletionTest:
    """The deletion test of one pair: random orders, drawn from `seed`, are measured once for every method."""

    def __init__(self, pair: ExplainedPair, *, seed: int = 0) -> None:
        self._pair, self._places = pair, pair.removable.nonzero()[:, 0]
        self._counts = _counts(len(self._places))
        generator = torch.Generator().manual_seed(seed)
        orders = torch.stack([torch.randperm(len(self._places), generator=generator) for _ in range(RANDOM_ORDERS)])
        self._full = pair.scores_without(torch.ones(1, len(pair.source_ids), dtype=torch.bool)).exp()[0]
        found = _probabilities(pair, self._places[orders], self._counts)
        self._random = found.mean(1).permute(2, 0, 1)  # (U, 2, K)

    def of(self, weights: Tensor) -> Faithfulness:
        """The test of attributions `weights` (U, S)."""
        each = torch.arange(len(self._pair.units))
        orders = weights[:, self._places].argsort(dim=1, descending=True, stable=True)  # (U, n)
        own = _probabilities(self._pair, self._places[orders], self._counts)  # (2, U, K, U)
        own = own[:, each, :, each]  # each unit after its own deletions, (U, 2, K)
        shares = torch.tensor([count / max(len(self._places), 1) for count in self._counts]).expand(len(each), -1)
        return Faithfulness(shares, self._full, own[:, 0], own[:, 1], self._random[:, 0], self._random[:, 1])


def _probabilities(pair: ExplainedPair, orders: Tensor, counts: list[int]) -> Tensor:
    """(2, R, K, U): the probabilities after deleting the first k places of each order (R, n), and with these alone."""
    rows = orders.shape[0]
    first = torch.zeros(rows, len(counts), len(pair.source_ids), dtype=torch.bool)
    for place, count in enumerate(counts):
        first[:, place].scatter_(1, orders[:, :count], True)
    kept = torch.stack([~first, first]).flatten(0, 2)
    distinct, back = kept.unique(dim=0, return_inverse=True)
    found = pair.scores_without(distinct).exp()[back] if len(kept) else torch.zeros(0, len(pair.units))
    return found.view(2, rows, len(counts), len(pair.units))


def _counts(tokens: int) -> list[int]:
    """At most STEPS numbers of tokens, from 1 to all but one."""
    if tokens < 2:
        return []
    steps = min(STEPS, tokens - 1)
    return sorted({1 + round(step * (tokens - 2) / max(steps - 1, 1)) for step in range(steps)})
