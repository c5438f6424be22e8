"""What the answers of a batch must begin with, where they must end, and what their length is worth.

Shapes: N sources, P the longest prefix, T the longest answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.runtime.inference import sum_type
from antiphon.runtime.step import TopKRequest
from antiphon.search.hypotheses import Request, SearchConfig
from antiphon.search.processors import NEVER, Forbid, MinNewTokens
from antiphon.search.selecting import most_of


class Bounds:
    """Of each source: `limit` (N,), the most tokens of its answer; `prefix` (N, P), -1 behind its end, of
    `prefix_length` (N,) tokens.

    `capacity` is the largest limit of all, `least_limit` the smallest one of those that are left; `longest_prefix` and
    `common_prefix` are the tokens of the longest prefix and of the shortest one.
    """

    def __init__(self, requests: Sequence[Request], plan: SearchConfig, *, device: torch.device) -> None:
        limits, lengths = [r.limit for r in requests], [len(r.prefix) for r in requests]
        assert all(map(int.__lt__, lengths, limits)), "an answer needs room behind its prefix"
        self.capacity, self.least_limit = max(limits), min(limits)
        self.longest_prefix, self.common_prefix = max(lengths), min(lengths)
        self.limit = torch.tensor(limits, device=device)
        self.prefix_length = torch.tensor(lengths, device=device)
        rows = [[*r.prefix, *[-1] * (self.longest_prefix - len(r.prefix))] for r in requests]
        self.prefix = torch.tensor(rows, dtype=torch.long, device=device).view(len(requests), self.longest_prefix)
        self._forced = (self.prefix_length - len(plan.marks.first)).clamp(min=0)
        penalties = [plan.penalty(length) for length in range(self.capacity + 2)]
        self._penalties = torch.tensor(penalties, dtype=sum_type(device), device=device)

    def penalty(self, lengths: Tensor) -> Tensor:
        """What the sums of answers of `lengths` (N,) tokens are divided by, (N, 1); a prefix that a user forced does
        not count."""
        return self._penalties[(lengths - self._forced).clamp(min=0)][:, None]

    def select(self, kept: Tensor) -> None:
        """Only the sources `kept` (n,) remain, in that order."""
        leaves = (self.limit, self.prefix_length, self.prefix, self._forced)
        self.limit, self.prefix_length, self.prefix, self._forced = (leaf.index_select(0, kept) for leaf in leaves)
        self.least_limit = int(self.limit.min()) if kept.numel() else self.capacity

    def join(self, other: Bounds) -> None:
        """The sources of `other`, none of which has a longer limit or prefix, come behind these."""
        assert other.capacity <= self.capacity and other.longest_prefix == self.longest_prefix
        self.limit = torch.cat([self.limit, other.limit])
        self.prefix_length = torch.cat([self.prefix_length, other.prefix_length])
        self.prefix = torch.cat([self.prefix, other.prefix])
        self._forced = torch.cat([self._forced, other._forced])
        self.least_limit = min(self.least_limit, other.least_limit)


def wanted_of(plan: SearchConfig, bounds: Bounds) -> TopKRequest | None:
    """The ids that a search asks for where it looks at the most probable ones alone; None where something else acts on
    what may follow."""
    forbids = [processor for processor in plan.processors if isinstance(processor, Forbid)]
    known = all(isinstance(processor, Forbid | MinNewTokens) for processor in plan.processors)
    even = bounds.longest_prefix == bounds.common_prefix
    if plan.sampler is not None or plan.groups > 1 or not known or not even:
        return None
    never = {id for processor in forbids for id in processor.ids.tolist()}
    return TopKRequest(most_of(plan.width), tuple(sorted(never)), plan.marks.end)


def least_tokens(plan: SearchConfig) -> int:
    """How many tokens stand between a prefix and the end, at least."""
    return max((each.count for each in plan.processors if isinstance(each, MinNewTokens)), default=0)


def begun(count: int, plan: SearchConfig, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """The sums (N, W) of `count` sources before their first token: the model's own, and those that are compared."""
    score = torch.zeros((count, plan.width), dtype=sum_type(device), device=device)
    value = score.clone()
    if plan.sampler is None:
        first = torch.arange(plan.width, device=device) % (plan.width // plan.groups) == 0
        value[:, ~first] = NEVER  # before the first token all hypotheses of a group are one
    return score, value
