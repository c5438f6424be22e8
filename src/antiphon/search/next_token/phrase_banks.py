"""Candidates of a beam with required phrases, chosen by banks.

Hypotheses that need equally many more tokens for what is required share a bank, and the best candidate of every bank
comes before the second of any. After Post and Vilar 2018 and Hu et al. 2019, with two differences: banks count the
tokens that are still needed, not those that are met, and have no fixed size; with more banks than hypotheses, those
whose best candidate has the larger sum are served.

Shapes: N sources, W hypotheses of each, C candidates, V ids.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.search.candidates import Continuations, num_candidates
from antiphon.search.constants import NEG_INF
from antiphon.search.next_token.topk import topk


def banked_continuations(
    scores: Tensor, value: Tensor, *, banks: Tensor, progress: Tensor, ending: Tensor
) -> Continuations:
    """The first 2·W candidates by banks, for scores (N, W, V) after sums `value` (N, W).

    `banks` (N, W, V) is the number of the bank to which each token leads. `progress` (N, W, V), bool: tokens that come
    nearer to what is required; the best of them are candidates whatever their scores. `ending` (N, W), bool: the model
    would end these hypotheses here; if something is still required, their tokens without progress come last, because
    text after a natural end makes no sense. A source without progress gets exactly its best candidates.
    """
    count, width = value.shape
    most = num_candidates(width)
    found = [topk(scores.masked_fill(others, NEG_INF).flatten(0, 1), most) for others in (progress, ~progress)]
    gains = torch.cat([gains for gains, _ in found], 1).view(count, width, -1)
    tokens = torch.cat([ids for _, ids in found], 1).view(count, width, -1)
    late = torch.zeros_like(tokens, dtype=torch.bool)
    late[:, :, : found[0][1].shape[1]] = (ending & progress.any(-1))[:, :, None]
    totals, bank = value[:, :, None] + gains, banks.gather(2, tokens)
    totals, order = totals.flatten(1).sort(dim=1, descending=True, stable=True)
    bank, late = bank.flatten(1).gather(1, order), late.flatten(1).gather(1, order)
    turn = _rank_in_bank(bank) + late * order.shape[1]
    turn = turn.masked_fill(totals == NEG_INF, 2 * order.shape[1])
    first = turn.sort(dim=1, stable=True).indices[:, :most]
    order = order.gather(1, first)
    return Continuations(order // gains.shape[2], tokens.flatten(1).gather(1, order), totals.gather(1, first))


def _rank_in_bank(bank: Tensor) -> Tensor:
    """For each entry of (N, C) how many entries before it in its row have the same bank."""
    together = bank.sort(dim=1, stable=True)
    places = torch.arange(bank.shape[1], device=bank.device).expand_as(bank)
    begins = torch.ones_like(bank, dtype=torch.bool)
    begins[:, 1:] = together.values[:, 1:] != together.values[:, :-1]
    first = torch.where(begins, places, 0).cummax(1).values
    return torch.zeros_like(places).scatter(1, together.indices, places - first)
