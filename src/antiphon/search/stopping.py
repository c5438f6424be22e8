"""When a source is finished: no open hypothesis can still have a better rank than its n best ended ones.

The bound is exact, not a heuristic (Huang et al. 2017, "When to Finish?"): sums of log-probabilities never rise, and
the length penalty is monotone in the length, so the best rank that a hypothesis can reach is at one end of the lengths
that it may still have. Shapes: N sources, W hypotheses of each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.search.config import SearchConfig
from antiphon.search.state import SearchState


def max_rank(state: SearchState, values: Tensor) -> Tensor:
    """(N, W): an upper bound of the rank that open hypotheses with sums `values` (N, W) may end with.

    The coverage penalty is left out, since it may still become zero.
    """
    ends = (state.lengths + 1, state.limits.limit)
    return torch.maximum(*(values / state.limits.length_divisor(length) for length in ends))


def is_finished(state: SearchState, values: Tensor, config: SearchConfig) -> Tensor:
    """(N,), bool: the sources that are finished, where open hypotheses have sums `values` (N, W)."""
    # Negated, so that a source with NaN is finished: it is reported, not waited for.
    finished = ~(state.finished.rank[:, config.n_best - 1] < max_rank(state, values).amax(1))
    if config.patience is not None:
        finished |= state.num_ended >= max(config.patience * config.width, config.n_best)
    return finished
