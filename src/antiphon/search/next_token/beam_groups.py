"""Diverse beam search: groups of hypotheses choose one after the other (Vijayakumar et al. 2018).

A token loses `penalty` times the number of hypotheses of the earlier groups that take it in the same step. The penalty
changes only what a group chooses; the sums go on without it, so that hypotheses of all groups can be compared.

Shapes: N sources, W hypotheses of each in G groups, C candidates of a group, V ids.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from antiphon.search.candidates import Continuations
from antiphon.search.constants import NEG_INF

Choose = Callable[[Tensor, slice], Continuations]  # scores (N, W/G, V) of a group's hypotheses, and which these are


def choose_by_groups(
    scores: Tensor, value: Tensor, *, groups: int, penalty: float, end: int, choose: Choose
) -> Continuations:
    """The candidates of all groups, (N, G, C), for scores (N, W, V) after sums `value` (N, W)."""
    size = value.shape[1] // groups
    taken = torch.zeros_like(scores[:, 0])  # (N, V): how many hypotheses of the groups so far take each token
    found: list[Continuations] = []
    for first in range(0, value.shape[1], size):
        group = slice(first, first + size)
        own = scores[:, group]
        parents, tokens, _ = choose(own - penalty * taken[:, None], group)
        gained = own.flatten(1).gather(1, parents * own.shape[2] + tokens)
        values = value[:, group].gather(1, parents) + gained
        found.append(Continuations(parents + first, tokens, values))
        goes_on = ((tokens != end) & (values > NEG_INF)).to(taken)
        taken.scatter_add_(1, tokens, goes_on * (goes_on.cumsum(1) <= size))
    return Continuations(*(torch.stack(parts, 1) for parts in zip(*found, strict=True)))
