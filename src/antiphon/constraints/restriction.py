"""What an answer must be, as states that tokens lead through: the face of every restriction, and `allowed` texts.

    trie = TrieConstraint([[7, 8, 2], [7, 9, 2]], end=2, size=11)
    trie.costs(trie.start)      # (11,): 2 at id 7, since two more tokens make a whole answer; CLOSED everywhere else

A search takes a token only if its cost fits into what is left of the answer's length, so that every answer is whole in
time. Shapes: V ids of the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

CLOSED = 2**15 - 1  # the cost of a token that must not follow
DEAD = -1  # the state behind such a token


class Constraint:
    """Base class. A state is a number from 0 on; `start` is the first one.

    `banked` is true where hypotheses that have come nearer to a whole answer are to be kept beside better ones
    (`selecting.py`), `splits` where each part of an answer may be looked at alone.
    """

    start = 0
    banked = False
    splits = False

    def need(self, state: int) -> int:
        """The fewest tokens known to make the answer whole, its end included; CLOSED where none can."""
        raise NotImplementedError

    def costs(self, state: int) -> Tensor:
        """(V,), int16: what is needed after each token that may follow, CLOSED at the others.

        Where `need` is n above 0, some token costs at most n - 1.
        """
        raise NotImplementedError

    def follow(self, state: int, id: int) -> int:
        """The state after a token; DEAD if it must not follow."""
        raise NotImplementedError


class TrieConstraint(Constraint):
    """Answers are one of `texts`, ids with their end."""

    def __init__(self, texts: Iterable[Sequence[int]], *, end: int, size: int) -> None:
        self.end, self.size = end, size
        self.children: list[dict[int, int]] = [{}]
        self.needs = [CLOSED]
        self.longest = 0
        for ids in texts:
            assert ids and ids[-1] == end and end not in ids[:-1], "an allowed text needs one end, behind it"
            self.longest = max(self.longest, len(ids))
            state = 0
            for place, id in enumerate(ids):
                self.needs[state] = min(self.needs[state], len(ids) - place)
                following = self.children[state].setdefault(id, len(self.children))
                if following == len(self.children):
                    self.children.append({})
                    self.needs.append(CLOSED)
                state = following
            self.needs[state] = 0

    def need(self, state: int) -> int:
        return CLOSED if state == DEAD else self.needs[state]

    def costs(self, state: int) -> Tensor:
        costs = torch.full((self.size,), CLOSED, dtype=torch.int16)
        if state != DEAD and (children := self.children[state]):
            ids = torch.tensor(list(children))
            costs[ids] = torch.tensor([self.needs[child] for child in children.values()], dtype=torch.int16)
        return costs

    def follow(self, state: int, id: int) -> int:
        return DEAD if state == DEAD else self.children[state].get(id, DEAD)
