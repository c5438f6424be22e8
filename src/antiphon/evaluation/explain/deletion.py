"""Leave-one-out: what deleting one token of the source takes from the score of each unit of the answer."""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.evaluation.explain.pair import ExplainedPair


def leave_one_out(pair: ExplainedPair) -> Tensor:
    """The score minus that without the token, (U, S), in nats; zero for special tokens, which are never deleted (Li et
    al. 2016, "Understanding Neural Networks through Representation Erasure", equation 1)."""
    places = pair.removable.nonzero()[:, 0]
    kept = torch.ones(len(places) + 1, len(pair.source_ids), dtype=torch.bool)
    kept[torch.arange(1, len(places) + 1), places] = False
    scores = pair.scores_without(kept)
    found = torch.zeros(len(pair.units), len(pair.source_ids), dtype=torch.float64)
    found[:, places] = (scores[0] - scores[1:]).T
    return found
