"""From the logits of a step to the scores that a search adds up.

Logits processors, constraints, forced prefixes and the forced end at the limit are applied here, in this order. Shapes:
N sources, W hypotheses of each, R = N·W, V ids, t tokens so far.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.runtime.inference import log_softmax
from antiphon.search.config import SearchConfig
from antiphon.search.constants import NEG_INF
from antiphon.search.constraint_state import ConstraintState
from antiphon.search.length_limits import LengthLimits
from antiphon.search.logits_processors import DecodedTokens


def next_token_scores(
    logits: Tensor,
    history: Tensor,
    *,
    config: SearchConfig,
    limits: LengthLimits,
    constraints: ConstraintState | None,
    alive: Tensor,
) -> tuple[Tensor, Tensor]:
    """The model's log-probabilities and the scores of the search, (R, V) each.

    `history` (R, t) are the tokens so far, `alive` (N, W), bool, the hypotheses that exist. A token that is forced by a
    prefix has score 0: it was not chosen, so it does not count in the rank.
    """
    width, length = alive.shape[1], history.shape[1]
    log_p = log_softmax(logits)
    forced = forced_log_p = None
    if length < limits.longest_prefix:
        forced = limits.prefix[:, length].repeat_interleave(width)[:, None]  # (R, 1)
        forced_log_p = log_p.gather(1, forced.clamp(min=0))  # read before a processor changes it
    prefixes, longest = limits.prefix_length, limits.longest_prefix
    decoded = DecodedTokens(history, prefixes.repeat_interleave(width) if longest else prefixes[:1], longest)
    scores = _apply_processors(logits, log_p, decoded, config=config, keeps_log_p=constraints is not None)
    if constraints is not None:
        scores = constraints.mask(scores, log_p, limits.limit - length, alive)
    if config.special_tokens.force_end and length + 1 >= limits.min_limit:
        is_last = (limits.limit - length == 1).repeat_interleave(width)[:, None]
        scores = _force_end(scores, is_last, end=config.special_tokens.end)
    if forced is None or forced_log_p is None:
        return log_p, scores
    # Where a token is forced, no other one may follow, and no processor may exclude it.
    is_forced, ids = forced >= 0, forced.clamp(min=0)
    only = scores.masked_fill(is_forced, NEG_INF)
    only.scatter_(1, ids, only.gather(1, ids).masked_fill(is_forced, 0.0))
    log_p.scatter_(1, ids, torch.where(is_forced, forced_log_p, log_p.gather(1, ids)))
    return log_p, only


def _apply_processors(
    logits: Tensor, log_p: Tensor, decoded: DecodedTokens, *, config: SearchConfig, keeps_log_p: bool
) -> Tensor:
    """The scores (R, V) after all processors.

    They may share memory with `log_p` if the processors only set scores to -inf: the search never takes such a token,
    so its log-probability is not needed. With `keeps_log_p` they never do.
    """
    scores = log_p
    on_logits = [processor for processor in config.processors if processor.takes_logits]
    if on_logits:
        changed = logits.to(log_p.dtype, copy=True)
        for processor in on_logits:
            changed = processor(changed, decoded)
        scores = log_softmax(changed)
    elif keeps_log_p or any(processor.rescales for processor in config.processors):
        scores = log_p.clone()
    for processor in config.processors:
        scores = scores if processor.takes_logits else processor(scores, decoded)
    return scores


def _force_end(scores: Tensor, is_last: Tensor, *, end: int) -> Tensor:
    """Scores (R, V) where only `end` may follow the hypotheses `is_last` (R, 1), with score 0."""
    scores = scores.masked_fill(is_last, NEG_INF)
    scores[:, end].masked_fill_(is_last[:, 0], 0.0)
    return scores
