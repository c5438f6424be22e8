"""What may be said next: the processors of a search, and the k best tokens.

A processor takes log-probabilities (R, V) and what has been said so far, and gives scores (R, V): -inf where a token
must not follow. It may write into its argument. Shapes: R hypotheses, V ids, t tokens said so far.

    scores = NoRepeatNgram(3)(log_p, DecodedTokens(history, prefix_lengths, 0))
    values, ids = best(scores, 8)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NEVER = float("-inf")
BLOCK = 64  # ids whose maximum is looked at first by `best`: a quarter of the time of a plain topk over 16,000 ids


@dataclass(frozen=True, slots=True)
class DecodedTokens:
    """What the hypotheses hold: `history` (R, t), without the start token.

    `prefix_lengths` (R or 1,) says how much of it was forced, `longest_prefix` how much at most.
    """

    history: Tensor
    prefix_lengths: Tensor
    longest_prefix: int


class Processor:
    """Base class. `rescales` is true where the scores of tokens that remain possible change, `takes_logits` where it is
    given logits in place of log-probabilities, which are then made from what it gives back."""

    rescales = False
    takes_logits = False

    def __call__(self, scores: Tensor, said: DecodedTokens) -> Tensor:
        """Scores (R, V) of the tokens that may follow."""
        raise NotImplementedError


class Forbid(Processor):
    """Tokens that are never said (padding, the start token)."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = torch.tensor(sorted(ids))

    def __call__(self, scores: Tensor, said: DecodedTokens) -> Tensor:
        self.ids = self.ids.to(scores.device)  # copied once
        return scores.index_fill_(1, self.ids, NEVER)


class ForbidAt(Processor):
    """Tokens that are not said at one place of the answer, counted from 0."""

    def __init__(self, ids: Sequence[int], *, place: int) -> None:
        self.forbid, self.place = Forbid(ids), place

    def __call__(self, scores: Tensor, said: DecodedTokens) -> Tensor:
        return self.forbid(scores, said) if said.history.shape[1] == self.place else scores


class MinNewTokens(Processor):
    """No end before `count` other tokens follow the prefix."""

    def __init__(self, count: int, *, end: int) -> None:
        self.count, self.end = count, end

    def __call__(self, scores: Tensor, said: DecodedTokens) -> Tensor:
        length = said.history.shape[1]
        if length < said.longest_prefix + self.count:
            scores[:, self.end].masked_fill_(length - said.prefix_lengths < self.count, NEVER)
        return scores


class NoRepeatNgram(Processor):
    """No `size` tokens in a row that stand in the answer already (Paulus et al. 2018, section 2.5)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, scores: Tensor, said: DecodedTokens) -> Tensor:
        history, size = said.history, self.size
        if history.shape[1] < size:
            return scores
        windows = history.unfold(1, size, 1)  # (R, t - size + 1, size)
        ending = history[:, history.shape[1] - size + 1 :]  # (R, size - 1), what the next token would follow
        again = (windows[:, :, :-1] == ending[:, None]).all(-1)
        last = windows[:, :, -1]
        # The least of what is written to a place: an id may close one window that comes again and one that does not.
        return scores.scatter_reduce_(1, last, scores.gather(1, last).masked_fill(again, NEVER), "amin")


class RepetitionPenalty(Processor):
    """Divides the logit of each token that was said already where it is above 0, and multiplies it where it is below
    (Keskar et al. 2019, section 4.1, whose formula has no second case, and so would raise logits below 0).

    `start`: the start token counts as said too. `logits` false: the log-probabilities are scaled in their place.
    """

    rescales = True

    def __init__(self, factor: float, *, start: int | None = None, logits: bool = True) -> None:
        self.factor, self.start, self.takes_logits = factor, start, logits

    def __call__(self, scores: Tensor, said: DecodedTokens) -> Tensor:
        ids = said.history
        if self.start is not None:
            ids = torch.cat([ids.new_full((ids.shape[0], 1), self.start), ids], 1)
        there = scores.gather(1, ids)
        return scores.scatter_(1, ids, torch.where(there < 0, there * self.factor, there / self.factor))


def closed(scores: Tensor, last: Tensor, *, end: int) -> Tensor:
    """Scores (R, V) where the hypotheses `last` (R, 1), with room for one more token, must end, at no cost to their
    rank."""
    scores = scores.masked_fill(last, NEVER)
    scores[:, end].masked_fill_(last[:, 0], 0.0)
    return scores


def best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row of (R, V) and their ids, (R, k) each, best first; of equals the lower id first."""
    k = min(k, scores.shape[1])
    more = min(k + 1, scores.shape[1])
    values, ids = _candidates(scores, more, exact=False)
    values, order = values.topk(more)
    # With k + 1 distinct values at the top nothing is left to be decided; equal ones are put in order by the slow way.
    if bool(((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > NEVER)).any()):
        values, ids = _candidates(scores, k, exact=True)
        values, order = values.sort(dim=1, descending=True, stable=True)
    order = order[:, :k]
    return values[:, :k], order if ids is None else ids.gather(1, order)


def _candidates(scores: Tensor, k: int, *, exact: bool) -> tuple[Tensor, Tensor | None]:
    """Values (R, n) and ids that hold the k best of each row: the k blocks with the largest maxima, and the rest.

    `exact` takes the first of equal blocks, in the order of ids, so that no equal token with a lower id is left out.
    """
    rows, size = scores.shape
    blocks = size // BLOCK
    if blocks <= 2 * k:
        return scores, None
    whole = scores[:, : blocks * BLOCK].view(rows, blocks, BLOCK)
    maxima = whole.amax(-1)
    if exact:
        chosen = maxima.sort(dim=1, descending=True, stable=True).indices[:, :k].sort(dim=1).values
    else:
        chosen = maxima.topk(k).indices
    values = whole.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    ids = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=scores.device)).flatten(1)
    rest = torch.arange(blocks * BLOCK, size, device=scores.device)
    return torch.cat([values, scores[:, blocks * BLOCK :]], 1), torch.cat([ids, rest.expand(rows, -1)], 1)
