"""From a step's logits to the scores that a search adds up: processors, restrictions, forced tokens, the last place.

Shapes: N sources, W hypotheses of each, R = N·W, V ids.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.runtime.inference import log_softmax
from antiphon.search.bounds import Bounds
from antiphon.search.constraint_state import ConstraintState
from antiphon.search.hypotheses import SearchConfig
from antiphon.search.processors import NEVER, DecodedTokens, closed


def processed(
    logits: Tensor, history: Tensor, *, plan: SearchConfig, bounds: Bounds, guard: ConstraintState | None, alive: Tensor
) -> tuple[Tensor, Tensor]:
    """The model's log-probabilities and the search's scores, (R, V) each; they differ where a processor acts.

    `history` (R, t) are the tokens so far; `alive` (N, W), bool, says which hypotheses there are. A forced token costs
    the search nothing, since the rank is over what was chosen.
    """
    width, length = alive.shape[1], history.shape[1]
    log_p = log_softmax(logits)
    each, longest = bounds.prefix_length, bounds.longest_prefix
    forced = forced_log_p = None
    if length < longest:
        forced = bounds.prefix[:, length].repeat_interleave(width)[:, None]  # (R, 1)
        forced_log_p = log_p.gather(1, forced.clamp(min=0))
    said = DecodedTokens(history, each.repeat_interleave(width) if longest else each[:1], longest)
    scores = _after_processors(logits, log_p, said, plan=plan, guarded=guard is not None)
    if guard is not None:
        scores = guard.mask(scores, log_p, bounds.limit - length, alive)
    if plan.marks.closes and length + 1 >= bounds.least_limit:
        last = (bounds.limit - length == 1).repeat_interleave(width)[:, None]
        scores = closed(scores, last, end=plan.marks.end)
    if forced is None or forced_log_p is None:
        return log_p, scores
    # Where a token is forced, no other one may follow, and no processor may forbid it.
    is_forced, ids = forced >= 0, forced.clamp(min=0)
    only = scores.masked_fill(is_forced, NEVER)
    only.scatter_(1, ids, only.gather(1, ids).masked_fill(is_forced, 0.0))
    log_p.scatter_(1, ids, torch.where(is_forced, forced_log_p, log_p.gather(1, ids)))
    return log_p, only


def _after_processors(
    logits: Tensor, log_p: Tensor, said: DecodedTokens, *, plan: SearchConfig, guarded: bool
) -> Tensor:
    """What the processors leave; it may share the memory of `log_p` where none changes what remains possible."""
    processors = plan.processors
    scores = log_p  # scores of -inf may stand in the model's place, since such a token is never taken
    early = [processor for processor in processors if processor.takes_logits]
    if early:
        changed = logits.to(log_p.dtype, copy=True)
        for processor in early:
            changed = processor(changed, said)
        scores = log_softmax(changed)
    elif guarded or any(processor.rescales for processor in processors):
        scores = log_p.clone()
    for processor in processors:
        scores = scores if processor.takes_logits else processor(scores, said)
    return scores
