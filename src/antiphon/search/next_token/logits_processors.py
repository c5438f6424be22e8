"""Logits processors: which tokens may follow, and changes of their scores.

A processor takes log-probabilities (R, V) and the tokens so far, and returns scores (R, V), -inf where a token must not
follow. It may change its argument in place. As transformers' LogitsProcessor, but for a batch with forced prefixes.

    scores = NoRepeatNgram(3)(log_p, DecodedTokens(history, prefix_lengths))

Shapes: R hypotheses, V ids, t tokens so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.search.constants import NEG_INF


@dataclass(frozen=True, slots=True)
class DecodedTokens:
    """The tokens so far of each hypothesis: `history` (R, t), without the start token.

    The first `prefix_lengths` (R,) of them were forced.
    """

    history: Tensor
    prefix_lengths: Tensor

    def select(self, rows: Tensor, length: int) -> DecodedTokens:
        """Those of `rows` (n,), which have `length` tokens."""
        return DecodedTokens(self.history[rows, :length], self.prefix_lengths[rows])


class LogitsProcessor:
    """Base class.

    `rescales`: it also changes the scores of tokens that may follow. `takes_logits`: it is called with logits instead
    of log-probabilities, and its result is normalized by log_softmax. `reads_history`: its result depends on the tokens
    so far or on their number.
    """

    rescales = False
    takes_logits = False
    reads_history = True

    def __call__(self, scores: Tensor, decoded: DecodedTokens) -> Tensor:
        """Scores (R, V) of the tokens that may follow."""
        raise NotImplementedError


class SuppressTokens(LogitsProcessor):
    """Tokens that are never generated, such as padding and the start token (transformers: suppress_tokens)."""

    reads_history = False

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = torch.tensor(sorted(ids))

    def __call__(self, scores: Tensor, decoded: DecodedTokens) -> Tensor:
        self.ids = self.ids.to(scores.device)  # copied once
        return scores.index_fill_(1, self.ids, NEG_INF)


class SuppressTokensAt(LogitsProcessor):
    """Tokens that are not generated at one position of the answer, counted from 0."""

    def __init__(self, ids: Sequence[int], *, position: int) -> None:
        self.suppress, self.position = SuppressTokens(ids), position

    def __call__(self, scores: Tensor, decoded: DecodedTokens) -> Tensor:
        return self.suppress(scores, decoded) if decoded.history.shape[1] == self.position else scores


class MinNewTokens(LogitsProcessor):
    """The end token must not follow before `count` other tokens stand behind the prefix."""

    def __init__(self, count: int, *, end: int) -> None:
        self.count, self.end = count, end

    def __call__(self, scores: Tensor, decoded: DecodedTokens) -> Tensor:
        length = decoded.history.shape[1]
        scores[:, self.end].masked_fill_(length - decoded.prefix_lengths < self.count, NEG_INF)
        return scores


class NoRepeatNgram(LogitsProcessor):
    """No n-gram of `size` tokens comes twice in an answer (Paulus et al. 2018, section 2.5)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, scores: Tensor, decoded: DecodedTokens) -> Tensor:
        history, size = decoded.history, self.size
        if history.shape[1] < size:
            return scores
        windows = history.unfold(1, size, 1)  # (R, t - size + 1, size)
        ending = history[:, history.shape[1] - size + 1 :]  # (R, size - 1): the tokens before the next one
        again = (windows[:, :, :-1] == ending[:, None]).all(-1)
        last = windows[:, :, -1]
        # The minimum over windows: an id may end one window that would be repeated and another one that would not.
        return scores.scatter_reduce_(1, last, scores.gather(1, last).masked_fill(again, NEG_INF), "amin")


class RepetitionPenalty(LogitsProcessor):
    """Makes tokens that the answer already has less probable (Keskar et al. 2019, section 4.1).

    Their logits are divided by `factor` if positive, and multiplied by it if negative. The paper divides all, which
    would raise negative logits. `start`: this token counts as generated too. `logits=False`: log-probabilities are
    scaled instead of logits.
    """

    rescales = True

    def __init__(self, factor: float, *, start: int | None = None, logits: bool = True) -> None:
        self.factor, self.start, self.takes_logits = factor, start, logits

    def __call__(self, scores: Tensor, decoded: DecodedTokens) -> Tensor:
        ids = decoded.history
        if self.start is not None:
            ids = torch.cat([ids.new_full((ids.shape[0], 1), self.start), ids], 1)
        old = scores.gather(1, ids)
        return scores.scatter_(1, ids, torch.where(old < 0, old * self.factor, old / self.factor))
