"""The CTC head's score of the answers of a beam search: the probability that the source's text begins with them.

    scores = CTCPrefixScores(network.frames(memory), width=W, weight=0.3, end=2)
    scores.joined(next_token_scores)      # (N·W, V): those of the decoder and of CTC for each next token
    scores.advance(tokens)                # (N, W): the tokens that were chosen

With h a prefix and c a token, the search compares sums of (1 - weight) · log p(c | h) of the decoder and weight ·
(log ψ(h·c) - log ψ(h)), where ψ(h) is the probability of all paths through the frames that spell a text with the
prefix h (Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition", section III-C and
algorithm 2). The end token stands for the probability of exactly h. Sums over frames are computed at once: those for
all tokens as a product of matrices, the recursions of the chosen ones as cumulative sums in the log domain.

Shapes: N sources, W hypotheses of each, F frames, V ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.models.protocol import Seq2Seq
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.ctc import CTCFrames
from antiphon.nn.mixers import Memory
from antiphon.runtime.inference import sum_type
from antiphon.search.batch_state import PER_HYPOTHESIS, PER_SOURCE, SHARED, BatchState
from antiphon.search.constants import NEG_INF

LEAST_GAIN = -1e4  # of a token that no path allows: finite, so that a constraint can still demand it
NONE = -1  # as `last`: the hypothesis has no token yet


@dataclass(init=False, eq=False)
class CTCPrefixScores(BatchState):
    """The sums of the paths of each hypothesis. `with_token` and `with_blank` are the log-probabilities of the paths
    that spell it in the frames up to each, and end with its last token there, or with a blank."""

    p: Tensor = field(metadata=PER_SOURCE)  # (N, F, V + 1): the probabilities of the frames, 0 at padding
    lengths: Tensor = field(metadata=PER_SOURCE)  # (N,): frames
    blanks: Tensor = field(metadata=PER_SOURCE)  # (N, F): the sum of the blank's log-probabilities so far
    with_token: Tensor = field(metadata=PER_HYPOTHESIS)  # (N, W, F)
    with_blank: Tensor = field(metadata=PER_HYPOTHESIS)  # (N, W, F)
    total: Tensor = field(metadata=PER_HYPOTHESIS)  # (N, W): log ψ
    last: Tensor = field(metadata=PER_HYPOTHESIS)  # (N, W): the last token, or NONE
    weight: float = field(metadata=SHARED)
    end: int = field(metadata=SHARED)

    def __init__(self, frames: CTCFrames, *, width: int, weight: float, end: int) -> None:
        """Hypotheses without a token."""
        log_p, self.lengths = frames
        sums = sum_type(log_p.device)
        is_frame = torch.arange(log_p.shape[1], device=log_p.device) < self.lengths[:, None]
        # Not below the least number of its type, so that logarithms and their sums are finite.
        self.p = log_p.exp().clamp_(min=torch.finfo(log_p.dtype).tiny) * is_frame[..., None]
        self.blanks = log_p[:, :, -1].to(sums).cumsum(1)
        self.with_blank = self.blanks[:, None].repeat(1, width, 1)
        self.with_token = torch.full_like(self.with_blank, NEG_INF)
        self.total = torch.zeros(log_p.shape[0], width, dtype=sums, device=log_p.device)
        self.last = torch.full(self.total.shape, NONE, device=log_p.device)
        self.weight, self.end = weight, end

    def joined(self, scores: Tensor) -> Tensor:
        """The sums of the decoder's scores of each next token (N·W, V) and those of CTC, by their weights."""
        joint = (1 - self.weight) * scores + self.weight * self.gains().view_as(scores).to(scores.dtype)
        return joint.masked_fill_(scores == NEG_INF, NEG_INF)

    def gains(self) -> Tensor:
        """log ψ(h·c) - log ψ(h) of each token c, (N, W, V), at most 0."""
        vocab_size = self.p.shape[2] - 1
        before = self._before(torch.logaddexp(self.with_token, self.with_blank))
        is_frame = torch.arange(before.shape[2], device=before.device) < self.lengths[:, None]
        before = before.masked_fill(~is_frame[:, None], NEG_INF)
        top = before.amax(-1, keepdim=True).clamp(min=torch.finfo(before.dtype).min)
        found = torch.bmm((before - top).exp().to(self.p.dtype), self.p[:, :, :vocab_size])
        found = found.to(before.dtype).log_() + top
        # A token that equals the last one begins anew only behind a blank.
        again = self.last.clamp(min=0)
        repeated = (self._before(self.with_blank) + self._column(again)).logsumexp(-1)
        own = found.gather(2, again[..., None])[..., 0]
        found.scatter_(2, again[..., None], torch.where(self.last == NONE, own, repeated)[..., None])
        found[:, :, self.end] = self._complete()
        gains = (found - self.total[..., None]).clamp(min=LEAST_GAIN, max=0.0)
        # CTC cannot say what follows a prefix that it excludes.
        return gains.masked_fill(self.total[..., None] == NEG_INF, 0.0)

    def advance(self, tokens: Tensor) -> None:
        """Each hypothesis gets one more of `tokens` (N, W); the end token leaves it as it is."""
        column = self._column(tokens)
        repeats = (tokens == self.last)[..., None]
        before = self._before(torch.where(repeats, self.with_blank, torch.logaddexp(self.with_token, self.with_blank)))
        ended = tokens == self.end
        self.total = torch.where(ended, self.total, (before + column).logsumexp(-1))
        with_token = _recursion(before, column.masked_fill(column == NEG_INF, 0.0).cumsum(-1))
        blanks = self.blanks[:, None].expand_as(with_token)
        with_blank = _recursion(_shifted(with_token, NEG_INF), blanks)
        self.with_token = torch.where(ended[..., None], self.with_token, with_token)
        self.with_blank = torch.where(ended[..., None], self.with_blank, with_blank)
        self.last = torch.where(ended, self.last, tokens)

    def _before(self, sums: Tensor) -> Tensor:
        """The `sums` (N, W, F) of the frames before each. Before the first frame nothing is spelled."""
        shifted = _shifted(sums, NEG_INF)
        shifted[:, :, 0].masked_fill_(self.last == NONE, 0.0)
        return shifted

    def _column(self, tokens: Tensor) -> Tensor:
        """The log-probabilities of `tokens` (N, W) at each frame, (N, W, F); -inf at padding."""
        index = tokens[:, None].expand(-1, self.p.shape[1], -1)
        return self.p.gather(2, index).transpose(1, 2).to(self.total.dtype).log()

    def _complete(self) -> Tensor:
        """(N, W): the log-probability of exactly this text."""
        ways = torch.logaddexp(self.with_token, self.with_blank)
        return ways.gather(2, (self.lengths - 1)[:, None, None].expand(*ways.shape[:2], 1))[..., 0]


def ctc_scores_of(
    network: Seq2Seq, memory: Memory, prefixes: Sequence[Sequence[int]], *, width: int, weight: float, end: int
) -> CTCPrefixScores:
    """The scores of hypotheses that begin with the `prefixes`, one a source, of one length. ConfigError for a network
    without a CTC head."""
    if not isinstance(network, EncoderDecoder) or network.ctc is None:
        raise ConfigError(
            "`ctc_weight` needs a single model with a CTC head (`model.ctc: true` in its recipe), but this one has "
            f"none, and it is {weight}. Set it to 0."
        )
    scores = CTCPrefixScores(network.frames(memory), width=width, weight=weight, end=end)
    for ids in zip(*prefixes, strict=True):
        scores.advance(torch.tensor(ids, device=network.device)[:, None].expand(-1, width))
    return scores


def _shifted(values: Tensor, first: float) -> Tensor:
    """`values` (..., F), each at the next frame, `first` at the first frame."""
    return torch.cat([torch.full_like(values[..., :1], first), values[..., :-1]], -1)


def _recursion(before: Tensor, sums: Tensor) -> Tensor:
    """x_t = log(exp(x_(t-1)) + exp(before_t)) + log p_t, with `sums` those of log p up to each frame, (N, W, F)."""
    return sums + torch.logcumsumexp(before - _shifted(sums, 0.0), -1)
