"""The restrictions of a batch: where each hypothesis stands in its source's, and what may follow.

    guard = ConstraintState([trie, None], width=4, device=device)
    scores = guard.mask(scores, log_p, room, alive)      # before each choice
    guard.follow(lanes, tokens, alive)                   # after it

Shapes: N sources, W hypotheses of each, R = N·W, V ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.constraints.restriction import CLOSED, DEAD, Constraint
from antiphon.search.processors import NEVER


class ConstraintState:
    """`restrictions`: one for each source; None: any answer. `banked` (N, 1) tells whose hypotheses go into banks."""

    def __init__(
        self, restrictions: Sequence[Constraint | None], *, width: int, size: int, device: torch.device
    ) -> None:
        self.restrictions, self.size, self.device = list(restrictions), size, device
        self.states = [[0 if r is None else r.start] * width for r in restrictions]
        self.banked = torch.tensor([[r is not None and r.banked] for r in restrictions], device=device)
        self.banks = bool(self.banked.any())
        self.costs = torch.zeros(0)

    def mask(self, scores: Tensor, log_p: Tensor, room: Tensor, alive: Tensor) -> Tensor:
        """`scores` (R, V), -inf where a token must not follow or leaves too little of `room` (N,), the tokens left.

        Where the processors have closed every way that is left to a hypothesis which is `alive` (N, W), the
        restriction wins: those ways have the model's own `log_p` again.
        """
        open_ = torch.zeros(self.size, dtype=torch.int16)
        rows = [
            open_ if restriction is None else restriction.costs(state)
            for restriction, states in zip(self.restrictions, self.states, strict=True)
            for state in states
        ]
        self.costs = torch.stack(rows).to(self.device)  # (R, V)
        room = room.clamp(max=CLOSED).repeat_interleave(alive.shape[1])[:, None]
        closed = self.costs >= room
        scores = scores.masked_fill_(closed, NEVER)
        stuck = (scores.amax(1) == NEVER) & alive.flatten()
        if bool(stuck.any()):
            scores[stuck] = log_p[stuck].masked_fill(closed[stuck], NEVER)
        return scores

    def progress(self) -> Tensor:
        """(R, V), bool: the tokens that bring a hypothesis nearer to holding all that is required."""
        needs = [
            0 if restriction is None or not restriction.banked else restriction.need(state)
            for restriction, states in zip(self.restrictions, self.states, strict=True)
            for state in states
        ]
        return self.costs < torch.tensor(needs, device=self.device)[:, None]

    def follow(self, lanes: Tensor, tokens: Tensor, alive: Tensor) -> None:
        """The hypotheses become these, (N, W): hypothesis `lanes` of the same source and one more token."""
        steps = zip(self.restrictions, self.states, lanes.tolist(), tokens.tolist(), alive.tolist(), strict=True)
        self.states = [
            [
                DEAD if not lives else 0 if restriction is None else restriction.follow(states[lane], id)
                for lane, id, lives in zip(*row, strict=True)
            ]
            for restriction, states, *row in steps
        ]

    def select(self, rows: Tensor) -> None:
        """Keep the sources `rows` (n,), in that order."""
        kept = rows.tolist()
        self.restrictions = [self.restrictions[row] for row in kept]
        self.states = [self.states[row] for row in kept]
        self.banked = self.banked.index_select(0, rows)
        self.banks = bool(self.banked.any())
