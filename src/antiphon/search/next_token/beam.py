"""Beam search: of all continuations of the hypotheses of a source, those with the largest sums.

Shapes: N sources, W hypotheses of each, R = N·W, C candidates of a source, V ids, k ids of a hypothesis.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.search.candidates import Continuations, num_candidates
from antiphon.search.next_token.topk import topk


def best_continuations(scores: Tensor, value: Tensor) -> Continuations:
    """The best candidates of each source: scores (N, W, V) of the next tokens, after sums `value` (N, W)."""
    found, _ = merge_top_ids(*topk(scores.flatten(0, 1), num_candidates(value.shape[1])), value)
    return found


def merge_top_ids(gains: Tensor, tokens: Tensor, value: Tensor) -> tuple[Continuations, Tensor]:
    """The best candidates of each source, from the k best next tokens of each hypothesis.

    `gains` (R, k) are their scores, `tokens` (R, k) their ids, `value` (N, W) the sums before them. Also returned: the
    gain of each candidate, (N, C).
    """
    count, width = value.shape
    totals = (value[:, :, None] + gains.reshape(count, width, -1)).flatten(1)
    tokens = tokens.reshape(count, -1)
    if width == 1:
        return Continuations(torch.zeros_like(tokens), tokens, totals), gains
    totals, order = totals.sort(dim=1, descending=True, stable=True)
    totals, order = totals[:, : 2 * width], order[:, : 2 * width]
    found = Continuations(order // gains.shape[1], tokens.gather(1, order), totals)
    return found, gains.reshape(count, -1).gather(1, order)
