"""From the logits of a step to the scores that a search adds up.

Logits processors, the CTC head's scores, constraints and the forced end at the limit are applied here, in this order.
Shapes: N sources, W hypotheses of each, R = N·W, V ids, t tokens so far.
"""

from __future__ import annotations

from torch import Tensor

from antiphon.runtime.inference import log_softmax
from antiphon.search.config import SearchConfig
from antiphon.search.constants import NEG_INF
from antiphon.search.next_token.logits_processors import DecodedTokens, LogitsProcessor
from antiphon.search.state import SearchState


def next_token_scores(
    logits: Tensor, state: SearchState, config: SearchConfig, *, length: int | None
) -> tuple[Tensor, Tensor]:
    """The model's log-probabilities and the scores of the search, (R, V) each, from logits (R, V).

    `length` is the number of tokens of each hypothesis, None if sources have different ones.
    """
    width, limits, constraints = state.value.shape[1], state.limits, state.constraints
    log_p = log_softmax(logits)
    decoded = DecodedTokens(state.rows, limits.prefix_length.repeat_interleave(width))
    lengths = state.lengths.repeat_interleave(width) if length is None else length
    scores = apply_processors(
        logits, log_p, decoded, lengths=lengths, config=config, keeps_log_p=constraints is not None
    )
    if state.ctc is not None:
        scores = state.ctc.joined(scores)
    left = limits.limit - state.lengths
    if constraints is not None:
        scores = constraints.mask(scores, log_p, left, state.value > NEG_INF)
    if config.special_tokens.force_end and (length is None or length + 1 >= limits.min_limit):
        scores = _force_end(scores, (left == 1).repeat_interleave(width)[:, None], end=config.special_tokens.end)
    return log_p, scores


def apply_processors(
    logits: Tensor,
    log_p: Tensor,
    decoded: DecodedTokens,
    *,
    lengths: Tensor | int,
    config: SearchConfig,
    keeps_log_p: bool,
) -> Tensor:
    """The scores (R, V) after all processors; `lengths` (R,) are those of the hypotheses, an int if they are equal.

    They may share memory with `log_p` if the processors only set scores to -inf: the search never takes such a token,
    so its log-probability is not needed. With `keeps_log_p` they never do.
    """
    scores = log_p
    on_logits = [processor for processor in config.processors if processor.takes_logits]
    if on_logits:
        changed = logits.to(log_p.dtype, copy=True)
        for processor in on_logits:
            changed = _apply(processor, changed, decoded, lengths)
        scores = log_softmax(changed)
    elif keeps_log_p or any(processor.rescales for processor in config.processors):
        scores = log_p.clone()
    for processor in config.processors:
        scores = scores if processor.takes_logits else _apply(processor, scores, decoded, lengths)
    return scores


def _apply(processor: LogitsProcessor, scores: Tensor, decoded: DecodedTokens, lengths: Tensor | int) -> Tensor:
    """The result of a processor, which sees hypotheses of one length at a time."""
    if isinstance(lengths, int):
        return processor(scores, DecodedTokens(decoded.history[:, :lengths], decoded.prefix_lengths))
    if not processor.reads_history:
        return processor(scores, decoded)
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero()[:, 0]
        scores[rows] = processor(scores[rows], decoded.select(rows, length))
    return scores


def _force_end(scores: Tensor, is_last: Tensor, *, end: int) -> Tensor:
    """Scores (R, V) where only `end` may follow the hypotheses `is_last` (R, 1), with score 0."""
    scores = scores.masked_fill(is_last, NEG_INF)
    scores[:, end].masked_fill_(is_last[:, 0], 0.0)
    return scores
