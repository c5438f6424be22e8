"""Which candidates of a source go on: the best ones, or the best ones of each bank.

A candidate is a hypothesis of the source and its next token. Banks are for required phrases: hypotheses that lack
equally much share one, and the best of every bank comes before the second of any (after Post and Vilar 2018 and Hu et
al. 2019, but by what is still needed, and without a fixed size of each bank: of more banks than places, those with the
better hypotheses have one). Shapes: N sources, W hypotheses of each, C candidates, V ids.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.search.processors import NEVER, best

Candidates = tuple[Tensor, Tensor, Tensor]  # (N, C) each: which hypothesis, which token, the sum; best first


def best_candidates(scores: Tensor, value: Tensor) -> Candidates:
    """The 2·W best of `scores` (N, W, V) behind sums `value` (N, W); the best one where W is 1.

    Twice as many as go on: at most one candidate of a hypothesis ends, so that enough remain.
    """
    width = value.shape[1]
    lanes, tokens, totals, _ = merged(*best(scores.flatten(0, 1), most_of(width)), value)
    return lanes, tokens, totals


def most_of(width: int) -> int:
    """How many candidates a source needs, and each of its hypotheses."""
    return 2 * width if width > 1 else 1


def merged(values: Tensor, tokens: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best candidates of each source from the best (R, k) of its hypotheses, behind sums `value` (N, W): which
    hypothesis, which token, the sum, and what the token added to it."""
    count, width = value.shape
    totals = (value[:, :, None] + values.reshape(count, width, -1)).flatten(1)
    tokens = tokens.reshape(count, -1)
    if width == 1:
        return torch.zeros_like(tokens), tokens, totals, values
    totals, order = totals.sort(dim=1, descending=True, stable=True)
    totals, order = totals[:, : 2 * width], order[:, : 2 * width]
    return order // values.shape[1], tokens.gather(1, order), totals, values.reshape(count, -1).gather(1, order)


def in_their_places(lanes: Tensor) -> Tensor:
    """The order (N, W) in which hypotheses that go on from `lanes` (N, W) leave as many as can be where they are, so
    that a beam that only changed its ranks moves nothing."""
    width = lanes.shape[1]
    again = (lanes[:, :, None] == lanes[:, None, :]).tril(-1).any(2)  # a lane that an earlier one goes on from already
    taken = torch.zeros_like(again).scatter_(1, lanes, True)
    free = taken.to(torch.uint8).sort(dim=1, stable=True).indices  # those first that nothing goes on from
    place = torch.where(again, free.gather(1, (again.cumsum(1) - 1).clamp(min=0)), lanes)
    return torch.empty_like(place).scatter_(1, place, torch.arange(width, device=lanes.device).expand_as(place))


def banked_candidates(scores: Tensor, value: Tensor, *, banks: Tensor, progress: Tensor, ending: Tensor) -> Candidates:
    """The first 2·W by banks. `banks` (N, W, V) numbers the bank that a token leads to.

    `progress` (N, W, V) are the tokens that lead nearer to what is required: the best of them are candidates, whatever
    they are worth. `ending` (N, W): hypotheses that the model would end here; where something is missing, it is said
    now, and their other candidates come last, lest an answer runs on without sense. A source without progress has
    exactly its best candidates.
    """
    count, width = value.shape
    most = most_of(width)
    found = [best(scores.masked_fill(others, NEVER).flatten(0, 1), most) for others in (progress, ~progress)]
    values = torch.cat([values for values, _ in found], 1).view(count, width, -1)
    tokens = torch.cat([ids for _, ids in found], 1).view(count, width, -1)
    late = torch.zeros_like(tokens, dtype=torch.bool)
    late[:, :, : found[0][1].shape[1]] = (ending & progress.any(-1))[:, :, None]
    totals, bank = value[:, :, None] + values, banks.gather(2, tokens)
    totals, order = totals.flatten(1).sort(dim=1, descending=True, stable=True)
    bank, late = bank.flatten(1).gather(1, order), late.flatten(1).gather(1, order)
    place = _places(bank) + late * order.shape[1]
    place = place.masked_fill(totals == NEVER, 2 * order.shape[1])
    turn = place.sort(dim=1, stable=True).indices[:, :most]
    order = order.gather(1, turn)
    return order // values.shape[2], tokens.flatten(1).gather(1, order), totals.gather(1, turn)


def _places(bank: Tensor) -> Tensor:
    """For each entry of (N, C) how many before it in its row are of the same bank."""
    together = bank.sort(dim=1, stable=True)
    places = torch.arange(bank.shape[1], device=bank.device).expand_as(bank)
    begins = torch.ones_like(bank, dtype=torch.bool)
    begins[:, 1:] = together.values[:, 1:] != together.values[:, :-1]
    first = torch.where(begins, places, 0).cummax(1).values
    return torch.zeros_like(places).scatter(1, together.indices, places - first)
