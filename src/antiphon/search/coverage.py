"""The coverage penalty (Wu et al. 2016, equation 14): answers should attend to every position of their source.

The penalty is beta times the sum over source positions of log(min(attention so far, 1)): zero where each position has
received a total weight of one, below zero otherwise. Weights are those of cross-attention, averaged over the heads and
layers of the decoder (the paper has one layer and one head). The penalty can only rise while an answer grows, so the
upper bound of an open hypothesis (`stopping.py`) leaves it out.

Shapes: N sources, W hypotheses of each, S source positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.nn.state import State
from antiphon.runtime.inference import sum_type
from antiphon.search.batch_state import PER_HYPOTHESIS, PER_SOURCE, SHARED, BatchState

MIN_ATTENTION = 1e-6  # a rule may hide a position from all queries; the logarithm of 0 would forbid every answer


@dataclass(init=False, eq=False)
class Coverage(BatchState):
    """How much each hypothesis has attended to each source position. The cross states record weights from now on."""

    valid: Tensor = field(metadata=PER_SOURCE)  # (N, S), bool: the positions that are no padding
    attention: Tensor = field(metadata=PER_HYPOTHESIS)  # (N, W, S): the sum of the weights so far
    cross_states: list[State] = field(metadata=SHARED)  # one for each decoder layer
    weight: float = field(metadata=SHARED)  # beta

    def __init__(
        self, cross_states: Sequence[State], valid: Tensor, *, sources: int, width: int, weight: float
    ) -> None:
        """`valid` is (N, S), or (1, S) where no source is padded."""
        self.cross_states, self.weight = list(cross_states), weight
        self.valid = valid.expand(sources, -1)
        shape = (sources, width, valid.shape[1])
        self.attention = torch.zeros(shape, dtype=sum_type(valid.device), device=valid.device)
        for state in cross_states:
            state.record = []

    def update(self) -> None:
        """Add the weights of the network's last forward, which must have run all sources and hypotheses."""
        width, layers = self.attention.shape[1], []
        for layer, state in enumerate(self.cross_states):
            if not state.record:
                raise ConfigError(
                    "`coverage_penalty` needs attention weights of the role cross, but the mixer of decoder layer "
                    f"{layer + 1} gives none there. Set it to 0, or use an attention with weights."
                )
            weights = state.record.pop().mean(1)  # (N, W·L, S), L tokens were read
            layers.append(weights.unflatten(1, (width, -1)).sum(2))
        self.attention = self.attention + torch.stack(layers).mean(0).to(self.attention.dtype)

    def penalty(self) -> Tensor:
        """(N, W), at most 0."""
        covered = self.attention.clamp(min=MIN_ATTENTION, max=1).log()  # (N, W, S)
        return self.weight * covered.masked_fill(~self.valid[:, None], 0).sum(2)
