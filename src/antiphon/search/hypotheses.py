"""What a search is given and what it gives: requests, the plan, hypotheses, and the pool of those that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from antiphon.constraints.restriction import Constraint
from antiphon.errors import NonFiniteError
from antiphon.search.processors import NEVER, Processor
from antiphon.search.sampling import NOT_NUMBERS, TokenSampler


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The target ids with a meaning: `pad` is never said, `start` stands before every answer, `end` ends it.

    `first`, where there are any, begin every answer, and its score leaves them out (a language, say). `closes`: an
    answer that reaches its limit is ended with `end`, whatever that is worth. `never` are said as little as `pad`,
    `never_first` not right behind `first`. `prompt`: `first` says what is asked, so that it is left out of the length
    that a length penalty divides by, too. `published`: of a published checkpoint, to which a repetition penalty is
    applied as its library does it.
    """

    pad: int
    start: int
    end: int
    first: tuple[int, ...] = ()
    closes: bool = False
    never: tuple[int, ...] = ()
    never_first: tuple[int, ...] = ()
    prompt: bool = False
    published: bool = False

    @property
    def unsaid(self) -> list[int]:
        """The ids that no answer holds behind its first ones."""
        return sorted({self.pad, self.start, *self.never} - {self.end})

    def begin(self, ids: Sequence[int]) -> list[int]:
        """An answer's ids with `first` before them, if it is not there yet."""
        return list(ids) if self._begun(ids) else [*self.first, *ids]

    def bare(self, ids: Sequence[int]) -> list[int]:
        """An answer's ids without `first`."""
        return list(ids[len(self.first) :]) if self._begun(ids) else list(ids)

    def _begun(self, ids: Sequence[int]) -> bool:
        return tuple(ids[: len(self.first)]) == self.first


@dataclass(frozen=True, slots=True)
class Request:
    """A source to be answered, as ids or features (S, F).

    `prefix` begins the answer; it includes the forced first tokens of `SpecialTokens`. `limit` is the largest number of
    tokens of the answer, prefix and end included. `row` and `piece` select the random numbers. Where there is a
    `restriction`, the prefix is compatible with it, and the tokens that it needs after the prefix fit into `limit`.
    """

    source: list[int] | Tensor
    limit: int
    prefix: list[int] = field(default_factory=list)
    row: int = 0
    piece: int = 0
    restriction: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An answer as ids, its end included where it has one.

    `score` is the model's own sum of log-probabilities; `rank` is what the search compares, after the processors and
    the length penalty, over what was chosen: a prefix that was forced is in the score, and not in the rank.
    """

    ids: list[int]
    score: float
    rank: float
    finished: bool


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How to search: with `width` hypotheses of each source, drawn by `sampler` if there is one; `n_best` are given.

    With `patience` a source is finished when that times `width` of its hypotheses have ended, if not before.
    `groups` of hypotheses choose one after the other, and `diversity_penalty` keeps them apart; `coverage_penalty` is
    the weight of `Coverage` in the rank of an answer. `window`: sources beyond it are read in windows of it.
    """

    marks: SpecialTokens
    width: int = 1
    n_best: int = 1
    length_penalty: float = 1.0
    length_penalty_kind: str = "average"
    patience: float | None = None
    groups: int = 1
    diversity_penalty: float = 0.0
    coverage_penalty: float = 0.0
    processors: tuple[Processor, ...] = ()
    sampler: TokenSampler | None = None
    seed: int = 0
    window: int | None = None

    def penalty(self, length: int) -> float:
        """What the sum of log-probabilities of an answer of `length` tokens is divided by."""
        length = max(length - len(self.marks.first) * self.marks.prompt, 1)
        return (length if self.length_penalty_kind == "average" else (5 + length) / 6) ** self.length_penalty


class FinishedHypotheses:
    """The ended hypotheses of each source, best first.

    `rank`, `score` and `length` are (N, W), `ids` is (N, W, T); a free place has rank -inf.
    """

    def __init__(self, sources: int, width: int, capacity: int, like: Tensor) -> None:
        self.rank = torch.full((sources, width), NEVER, dtype=like.dtype, device=like.device)
        self.score = torch.zeros_like(self.rank)
        self.length = torch.zeros((sources, width), dtype=torch.long, device=like.device)
        self.ids = torch.zeros((sources, width, capacity), dtype=torch.long, device=like.device)

    def enter(self, rank: Tensor, score: Tensor, ids: Tensor, lengths: Tensor, *, unique: bool = False) -> None:
        """Take in candidates (N, C), with ids (N, C, T) of `lengths` (N,) tokens; those with rank -inf are none.

        Of equal ranks, who came first stays first. With `unique`, where all have one length, an answer that is there
        already does not come again.
        """
        width = self.rank.shape[1]
        if unique:
            rank = rank.masked_fill(self._again(rank > NEVER, ids, int(lengths[0])), NEVER)
        merged, order = torch.cat([self.rank, rank], 1).sort(dim=1, descending=True, stable=True)
        order = order[:, :width]
        self.rank = merged[:, :width]
        self.score = torch.cat([self.score, score], 1).gather(1, order)
        self.length = torch.cat([self.length, lengths[:, None].expand(rank.shape)], 1).gather(1, order)
        self.ids = torch.cat([self.ids, ids], 1).gather(1, order[:, :, None].expand(-1, -1, ids.shape[2]))

    def _again(self, real: Tensor, ids: Tensor, length: int) -> Tensor:
        """(N, C), bool: candidates of `length` tokens that are in the pool, or among those before them."""
        new, old = ids[:, :, :length], self.ids[:, :, :length]
        there = (self.length == length) & (self.rank > NEVER)
        pooled = ((new[:, :, None] == old[:, None]).all(-1) & there[:, None]).any(-1)
        return pooled | ((new[:, :, None] == new[:, None]).all(-1) & real[:, None]).tril(-1).any(-1)

    def join(self, count: int) -> None:
        """`count` more sources, of which nothing has ended, behind the others."""
        new = FinishedHypotheses(count, self.rank.shape[1], self.ids.shape[2], self.rank)
        for name in ("rank", "score", "length", "ids"):
            setattr(self, name, torch.cat([getattr(self, name), getattr(new, name)]))

    def select(self, rows: Tensor) -> None:
        """Keep the sources `rows` (n,), in that order."""
        leaves = (self.rank, self.score, self.length, self.ids)
        self.rank, self.score, self.length, self.ids = (leaf.index_select(0, rows) for leaf in leaves)

    def read(self, source: int, count: int, end: int) -> list[Hypothesis]:
        """The first `count` different hypotheses of a source; NonFiniteError where the network gave no numbers."""
        found: dict[tuple[int, ...], Hypothesis] = {}
        columns = (leaf[source].tolist() for leaf in (self.rank, self.score, self.length, self.ids))
        for rank, score, length, ids in zip(*columns, strict=True):
            if rank > NEVER and len(found) < count:
                answer = ids[:length]
                found.setdefault(tuple(answer), Hypothesis(answer, score, rank, answer[-1:] == [end]))
        if not found:
            raise NonFiniteError(NOT_NUMBERS)
        return list(found.values())


def common_prefix(rows: Sequence[Sequence[int]]) -> list[int]:
    """The longest list that all of `rows` begin with."""
    shared: list[int] = []
    for column in zip(*rows, strict=False):
        if any(id != column[0] for id in column):
            break
        shared.append(column[0])
    return shared
