"""What may be said next, and what is picked from it: the processors of a search, the k best tokens, and sampling.

A processor takes log-probabilities (R, V) and what has been said so far, and gives scores (R, V): -inf where a token must not
follow. It may write into its argument. Shapes: R hypotheses, V ids, t tokens said so far.

    scores = NoRepeatNgram(3)(log_p, Said(history, prefix_lengths, 0))
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
class Said:
    """What the hypotheses hold: `history` (R, t), the start token apart; `prefix_lengths` (R,), how much of it was forced, and the longest."""

    history: Tensor
    prefix_lengths: Tensor
    longest_prefix: int


class Processor:
    """Base class. `rescales` is true where the scores of tokens that remain possible change."""

    rescales = False

    def __call__(self, scores: Tensor, said: Said) -> Tensor:
        """Scores (R, V) of the tokens that may follow."""
        raise NotImplementedError


class Forbid(Processor):
    """Tokens that are never said (padding, the start token)."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = torch.tensor(sorted(ids))

    def __call__(self, scores: Tensor, said: Said) -> Tensor:
        return scores.index_fill_(1, self.ids.to(scores.device), NEVER)


class MinNewTokens(Processor):
    """No end before `count` other tokens follow the prefix."""

    def __init__(self, count: int, *, end: int) -> None:
        self.count, self.end = count, end

    def __call__(self, scores: Tensor, said: Said) -> Tensor:
        length = said.history.shape[1]
        if length < said.longest_prefix + self.count:
            scores[:, self.end].masked_fill_(length - said.prefix_lengths < self.count, NEVER)
        return scores


class NoRepeatNgram(Processor):
    """No `size` tokens in a row that stand in the answer already (Paulus et al. 2018, section 2.5)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, scores: Tensor, said: Said) -> Tensor:
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
    """Multiplies the log-probability of each token that was said already (after Keskar et al. 2019, section 4.1).

    The paper scales logits, whose zero is arbitrary; a log-probability has a meaning, so that beams can be compared.
    """

    rescales = True

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, scores: Tensor, said: Said) -> Tensor:
        return scores.scatter_(1, said.history, scores.gather(1, said.history) * self.factor)


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
    """Values (R, n), with their ids, in which the k best of each row are: the k blocks with the largest maxima, and the rest.

    `exact`: the first of equal blocks, in the order of ids, so that no token with an equal score and a lower id is left out.
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


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws one token a row: scores / temperature, then the `top_k` best, then the smallest set of best ones that holds `top_p` of
    what is left (Holtzman et al. 2020), then those with at least `min_p` times the best one's probability (Nguyen et al. 2024)."""

    temperature: float
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def draw(self, scores: Tensor, uniform: Tensor) -> Tensor:
        """Ids (R,) for `uniform` (R,) in [0, 1): the place where the summed probabilities of row i pass uniform[i]."""
        weights, ids = self.weights(scores)
        summed = weights.cumsum(1)
        total = summed[:, -1:]
        passed = (summed <= uniform[:, None] * total).sum(1, keepdim=True)
        # Rounding may carry uniform * total to the total itself; the last token with any weight is the first to reach it.
        place = torch.minimum(passed, (summed < total).sum(1, keepdim=True))
        return (place if ids is None else ids.gather(1, place))[:, 0]

    def weights(self, scores: Tensor) -> tuple[Tensor, Tensor | None]:
        """What each token weighs, (R, V), zero if it cannot be drawn; in the order of the ids (R, V), or of all ids if there are none."""
        ids = None
        if self.top_k is not None or self.top_p is not None:
            scores, ids = scores.sort(dim=1, descending=True, stable=True)
        exact = scores if scores.device.type == "mps" else scores.double()  # sums over a whole vocabulary
        largest = exact.amax(1, keepdim=True).clamp(
            min=torch.finfo(exact.dtype).min
        )  # a row of -inf must not become NaN
        weights = ((exact - largest) / self.temperature).exp()
        if self.top_k is not None:
            weights[:, self.top_k :] = 0
        if self.top_p is not None:
            before = weights.cumsum(1) - weights
            left_out = (before >= self.top_p * weights.sum(1, keepdim=True)) & (before > 0)
            weights = weights.masked_fill(left_out, 0)
        if self.min_p is not None:
            weights = weights.masked_fill(weights < self.min_p * weights.amax(1, keepdim=True), 0)
        return weights, ids


class Dice:
    """Uniform numbers that are a function of (seed, row, hypothesis, step) alone, so that what runs beside a row changes nothing."""

    def __init__(self, seed: int, rows: Tensor, width: int) -> None:
        lanes = torch.arange(width, device=rows.device)
        keys = _mix(_mix(rows ^ _signed(seed * _GOLDEN))[:, None] + lanes)
        self.keys = keys  # (N, W)

    def select(self, rows: Tensor) -> None:
        """Keep the sources `rows` (n,), in that order."""
        self.keys = self.keys.index_select(0, rows)

    def roll(self, step: int) -> Tensor:
        """(N, W) in [0, 1)"""
        bits = (_mix(self.keys ^ _signed((step + 1) * _GOLDEN)) >> 11) & (2**53 - 1)
        return (
            bits.float().mul(2.0**-53).clamp(max=1 - 2**-24) if bits.device.type == "mps" else bits.double() * 2.0**-53
        )


_GOLDEN = 0x9E3779B97F4A7C15


def _signed(number: int) -> int:
    """The 64 lowest bits of `number` as a tensor's int64 holds them."""
    return (number + 2**63) % 2**64 - 2**63


def _mix(x: Tensor) -> Tensor:
    """int64 -> int64 with every bit of the result depending on every bit of x (the finalizer of SplitMix64, Steele et al. 2014)."""
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ ((x >> 27) & (2**37 - 1))) * _signed(0x94D049BB133111EB)
    return x ^ ((x >> 31) & (2**33 - 1))
