"""The rules of timestamps in an answer to speech (Radford et al. 2022, section 2.3, and the released decoder).

An answer is segments, each between two timestamps: <0.00> text <2.40> <2.40> text <5.00>. The rules are those of
transformers' WhisperTimeStampLogitsProcessor. Shapes: R hypotheses, V ids, t tokens so far.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.search.constants import NEG_INF
from antiphon.search.next_token.logits_processors import DecodedTokens, LogitsProcessor
from antiphon.search.special_tokens import TimestampIds


class TimestampRules(LogitsProcessor):
    """Which tokens may follow in an answer with timestamps; `position` is where answers begin, behind their prompt.

    An answer begins with a timestamp. Timestamps come in pairs, the end of a segment and the beginning of the next one,
    except before the `end`; they do not decrease, and a segment is longer than zero. If timestamps together are more
    probable than any single other token, a timestamp follows.
    """

    def __init__(self, ids: TimestampIds, *, end: int, position: int) -> None:
        self.ids, self.end, self.position = ids, end, position

    def __call__(self, scores: Tensor, decoded: DecodedTokens) -> Tensor:
        first = self.ids.first
        scores[:, self.ids.untimed] = NEG_INF
        answer = decoded.history[:, self.position :]  # (R, n)
        length = answer.shape[1]
        if length:
            self._mask_by_history(scores, answer)
        else:
            scores[:, :first] = NEG_INF
            if self.ids.latest_first is not None:
                scores[:, first + self.ids.latest_first + 1 :] = NEG_INF
        timed = scores[:, first:].logsumexp(1) > scores[:, :first].amax(1)
        scores[:, :first].masked_fill_(timed[:, None], NEG_INF)
        return scores

    def _mask_by_history(self, scores: Tensor, answer: Tensor) -> None:
        """Mask what must not follow the tokens of the answer so far, (R, n) with n > 0."""
        first = self.ids.first
        is_timed = answer >= first
        last = is_timed[:, -1]
        before_last = is_timed[:, -2] if answer.shape[1] > 1 else torch.ones_like(last)
        scores[:, first:].masked_fill_((last & before_last)[:, None], NEG_INF)  # text must follow
        ends = last & ~before_last  # the beginning of the next segment must follow, or the end
        scores[:, : self.end].masked_fill_(ends[:, None], NEG_INF)
        latest = torch.where(is_timed, answer, first - 1).amax(1)
        least = torch.where(ends, latest, latest + 1)  # the next segment may begin where the last one ends
        ids = torch.arange(first, scores.shape[1], device=scores.device)
        scores[:, first:].masked_fill_(ids < least[:, None], NEG_INF)
