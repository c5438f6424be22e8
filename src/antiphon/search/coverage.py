"""How much of a source its hypotheses have attended to (Wu et al. 2016, equation 14).

The penalty is beta times the sum over source positions of log(min(attention so far, 1)): zero where every position has
had a weight of one in all, below zero else. Weights are the cross-attention's, averaged over heads and over the
decoder's layers (the paper has one layer and one head). It can only rise while an answer grows, so that the bound of an
open hypothesis, which leaves it out, holds. Shapes: N sources, W hypotheses of each, R = N·W, S source positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.nn.state import State

LEAST = 1e-6  # what counts as no attention: a rule may hide a position, whose logarithm would forbid every answer


class Coverage:
    """`crosses`: the decoder's cross states, which record from now on. `seen` (R, S) is the attention so far."""

    def __init__(self, crosses: Sequence[State], valid: Tensor, *, width: int, weight: float) -> None:
        self.crosses, self.width, self.weight = crosses, width, weight
        self.valid = valid  # (N or 1, S), bool: the real source positions
        self.seen = torch.zeros(0)
        for state in crosses:
            state.record = []

    def read(self) -> None:
        """Add what the last forward has attended to."""
        layers = []
        for layer, state in enumerate(self.crosses):
            if not state.record:
                raise ConfigError(
                    "`coverage_penalty` needs attention weights of the role cross, but the mixer of decoder layer "
                    f"{layer + 1} gives none there. Set it to 0, or use an attention with weights."
                )
            weights = state.record.pop().mean(1)  # (N, W·L, S)
            layers.append(weights.unflatten(1, (self.width, -1)).sum(2).flatten(0, 1))
        added = torch.stack(layers).mean(0).double() if layers[0].device.type != "mps" else torch.stack(layers).mean(0)
        self.seen = added if self.seen.numel() == 0 else self.seen + added

    def penalty(self) -> Tensor:
        """(N, W), at most 0."""
        covered = self.seen.clamp(min=LEAST, max=1).log().unflatten(0, (-1, self.width))  # (N, W, S)
        return self.weight * covered.masked_fill(~self.valid[:, None], 0).sum(2)

    def drop(self, kept: Tensor) -> None:
        """Only the sources `kept` (n,) remain; `seen` follows with the hypotheses (`select`)."""
        if self.valid.shape[0] > 1:
            self.valid = self.valid.index_select(0, kept)

    def select(self, rows: Tensor) -> None:
        """The hypotheses become `rows` (R,)."""
        self.seen = self.seen.index_select(0, rows)
