"""Answers that are one of a list of texts.

trie = TrieConstraint([[7, 8, 2], [7, 9, 2]], end=2, size=11)
trie.costs(trie.start)      # (11,): 2 at id 7, since two more tokens complete an answer; CLOSED at all others
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from antiphon.constraints.constraint import CLOSED, DEAD, Constraint


class TrieConstraint(Constraint):
    """A prefix tree of `texts`, which are ids that end with `end`. A state is a node; `size` is V."""

    def __init__(self, texts: Iterable[Sequence[int]], *, end: int, size: int) -> None:
        self.end, self.size = end, size
        self.children: list[dict[int, int]] = [{}]
        self.needs = [CLOSED]
        self.longest = 0
        for ids in texts:
            assert ids and ids[-1] == end and end not in ids[:-1], (
                "an allowed text must hold one end token, as its last"
            )
            self.longest = max(self.longest, len(ids))
            state = 0
            for position, id in enumerate(ids):
                self.needs[state] = min(self.needs[state], len(ids) - position)
                child = self.children[state].setdefault(id, len(self.children))
                if child == len(self.children):
                    self.children.append({})
                    self.needs.append(CLOSED)
                state = child
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
