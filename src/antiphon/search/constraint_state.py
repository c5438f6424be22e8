"""The constraints of a batch: the state of each hypothesis in the constraint of its source, and what may follow.

    constraints = ConstraintState([trie, None], width=4, vocab_size=8000, device=device)
    scores = constraints.mask(scores, log_p, tokens_left, alive)      # before each choice
    constraints.reorder(parents)                                      # after it
    constraints.advance(tokens, alive)

Shapes: N sources, W hypotheses of each, R = N·W, V ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from antiphon.constraints.constraint import CLOSED, DEAD, Constraint
from antiphon.search.batch_state import PER_HYPOTHESIS, PER_SOURCE, SHARED, BatchState
from antiphon.search.constants import NEG_INF


@dataclass(init=False, eq=False)
class ConstraintState(BatchState):
    """`constraints`: one for each source, or None where its answer is free."""

    constraints: list[Constraint | None] = field(metadata=PER_SOURCE)
    banked: Tensor = field(metadata=PER_SOURCE)  # (N, 1), bool: whether the hypotheses are chosen by banks
    states: list[list[int]] = field(metadata=PER_HYPOTHESIS)  # of the automaton
    costs: Tensor = field(metadata=SHARED)  # (R, V), int16, made by `mask`: the tokens needed after each token
    vocab_size: int = field(metadata=SHARED)
    device: torch.device = field(metadata=SHARED)

    def __init__(
        self, constraints: Sequence[Constraint | None], *, width: int, vocab_size: int, device: torch.device
    ) -> None:
        self.constraints, self.vocab_size, self.device = list(constraints), vocab_size, device
        self.states = [[0 if each is None else each.start] * width for each in constraints]
        self.banked = torch.tensor([[each is not None and each.banked] for each in constraints], device=device)
        self.costs = torch.zeros(0)

    @property
    def uses_banks(self) -> bool:
        """Whether the hypotheses of any source are chosen by banks."""
        return any(each is not None and each.banked for each in self.constraints)

    def mask(self, scores: Tensor, log_p: Tensor, tokens_left: Tensor, alive: Tensor) -> Tensor:
        """`scores` (R, V), changed in place: -inf at tokens that must not follow.

        A token must not follow if the constraint forbids it, or if the tokens that are needed after it do not fit into
        `tokens_left` (N,). If the logits processors have excluded every token that the constraint allows for a
        hypothesis that is `alive` (N, W), the constraint wins: these tokens get the model's own `log_p` (R, V).
        """
        free = torch.zeros(self.vocab_size, dtype=torch.int16)
        rows = [
            free if constraint is None else constraint.costs(state)
            for constraint, states in zip(self.constraints, self.states, strict=True)
            for state in states
        ]
        self.costs = torch.stack(rows).to(self.device)
        tokens_left = tokens_left.clamp(max=CLOSED).repeat_interleave(alive.shape[1])[:, None]
        excluded = self.costs >= tokens_left
        scores = scores.masked_fill_(excluded, NEG_INF)
        stuck = (scores.amax(1) == NEG_INF) & alive.flatten()
        if bool(stuck.any()):
            scores[stuck] = log_p[stuck].masked_fill(excluded[stuck], NEG_INF)
        return scores

    def progress(self) -> Tensor:
        """(R, V), bool: the tokens after which fewer tokens are needed than before, in sources with banks."""
        needs = [
            0 if constraint is None or not constraint.banked else constraint.need(state)
            for constraint, states in zip(self.constraints, self.states, strict=True)
            for state in states
        ]
        return self.costs < torch.tensor(needs, device=self.device)[:, None]

    def advance(self, tokens: Tensor, alive: Tensor) -> None:
        """Each hypothesis gets one more token, (N, W); those that are not `alive` (N, W) have no state any more."""
        rows = zip(self.constraints, self.states, tokens.tolist(), alive.tolist(), strict=True)
        self.states = [
            [
                DEAD if not lives else 0 if constraint is None else constraint.follow(state, id)
                for state, id, lives in zip(*row, strict=True)
            ]
            for constraint, *row in rows
        ]
