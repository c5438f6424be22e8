"""The base of all constraints on answers: automata whose transitions are token ids.

    state = constraint.follow(constraint.start, 7)
    constraint.need(state)         # 2: two more tokens complete the answer
    constraint.costs(state)        # (V,): the tokens needed after each id that may follow, CLOSED at the others

A search takes a token only if its cost is less than the number of tokens that the answer may still have, so every
answer is complete within its limit. Shapes: V ids of the target.
"""

from __future__ import annotations

from torch import Tensor

CLOSED = 2**15 - 1  # the cost of a token that must not follow, in tokens; the largest int16
DEAD = -1  # the state after such a token


class Constraint:
    """Base class. A state is an int, from 0 on; `start` is the first one.

    `banked`: a beam keeps hypotheses that are nearer to a complete answer beside those with better scores
    (`search/next_token/phrase_banks.py`). `splits`: each part of a source that was split may be checked alone.
    """

    start = 0
    banked = False
    splits = False

    def need(self, state: int) -> int:
        """The least number of tokens known to complete the answer, its end included; CLOSED if none can."""
        raise NotImplementedError

    def costs(self, state: int) -> Tensor:
        """(V,), int16: the tokens needed after each token that may follow, CLOSED at the others.

        If `need` is n > 0, at least one token costs n - 1 or less.
        """
        raise NotImplementedError

    def follow(self, state: int, id: int) -> int:
        """The state after a token; DEAD if it must not follow."""
        raise NotImplementedError
