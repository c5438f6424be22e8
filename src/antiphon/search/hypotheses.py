"""Hypotheses that have ended: an answer with its score and rank, and the best ones of each source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from antiphon.search.batch_state import PER_SOURCE, BatchState
from antiphon.search.constants import NEG_INF


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An answer as ids, with its end token if it has one.

    `score` is the model's own sum of log-probabilities, a forced prefix included. `rank` is what the search compares:
    the sum after the logits processors and the length penalty, without the prefix. `finished`: it ends with the end
    token.
    """

    ids: list[int]
    score: float
    rank: float
    finished: bool


@dataclass(init=False, eq=False)
class FinishedHypotheses(BatchState):
    """The W best ended hypotheses of each source, best first; an empty place has rank -inf.

    Shapes: N sources, C candidates of a source, T the longest answer.
    """

    rank: Tensor = field(metadata=PER_SOURCE)  # (N, W)
    score: Tensor = field(metadata=PER_SOURCE)  # (N, W)
    length: Tensor = field(metadata=PER_SOURCE)  # (N, W): tokens of each
    ids: Tensor = field(metadata=PER_SOURCE)  # (N, W, T)

    def __init__(self, score: Tensor, *, capacity: int) -> None:
        """None has ended yet; `score` (N, W) gives shape, type and device, `capacity` is T."""
        self.rank, self.score = torch.full_like(score, NEG_INF), torch.zeros_like(score)
        self.length = torch.zeros_like(score, dtype=torch.long)
        self.ids = self.length.new_zeros((*score.shape, capacity))

    def add(self, rank: Tensor, score: Tensor, ids: Tensor, lengths: Tensor, *, unique: bool = False) -> None:
        """Take in candidates (N, C) with a rank above -inf; their ids (N, C, T), 0 at the end, have `lengths` (N,)
        tokens.

        Of equal ranks the first to come stays first. `unique`: an answer that is there already is not taken again.
        """
        width = self.rank.shape[1]
        if unique:
            rank = rank.masked_fill(self._is_duplicate(rank > NEG_INF, ids, lengths), NEG_INF)
        merged, order = torch.cat([self.rank, rank], 1).sort(dim=1, descending=True, stable=True)
        order = order[:, :width]
        self.rank = merged[:, :width]
        self.score = torch.cat([self.score, score], 1).gather(1, order)
        self.length = torch.cat([self.length, lengths[:, None].expand(rank.shape)], 1).gather(1, order)
        self.ids = torch.cat([self.ids, ids], 1).gather(1, order[:, :, None].expand(-1, -1, ids.shape[2]))

    def _is_duplicate(self, exists: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """(N, C), bool: candidates of `lengths` (N,) tokens that equal an ended hypothesis or an earlier candidate."""
        longest = int(lengths.max())
        new, old = ids[:, :, :longest], self.ids[:, :, :longest]
        comparable = (self.length == lengths[:, None]) & (self.rank > NEG_INF)
        ended = ((new[:, :, None] == old[:, None]).all(-1) & comparable[:, None]).any(-1)
        return ended | ((new[:, :, None] == new[:, None]).all(-1) & exists[:, None]).tril(-1).any(-1)

    def best(self, source: int, count: int, *, end: int) -> list[Hypothesis]:
        """The first `count` different hypotheses of a source; none where the network returned NaN."""
        found: dict[tuple[int, ...], Hypothesis] = {}
        columns = (column[source].tolist() for column in (self.rank, self.score, self.length, self.ids))
        for rank, score, length, ids in zip(*columns, strict=True):
            if rank > NEG_INF and len(found) < count:
                answer = ids[:length]
                found.setdefault(tuple(answer), Hypothesis(answer, score, rank, answer[-1:] == [end]))
        return list(found.values())


def common_prefix(rows: Sequence[Sequence[int]]) -> list[int]:
    """The longest list with which all of `rows` begin."""
    shared: list[int] = []
    for column in zip(*rows, strict=False):
        if any(id != column[0] for id in column):
            break
        shared.append(column[0])
    return shared
