"""The candidates of a step: sampling, beam search and diverse beam search differ in this file alone.

Shapes: N sources, W hypotheses of each in G groups, R = N·W, C candidates of a group, V ids, k ids of a hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from antiphon.runtime.inference import log_softmax
from antiphon.search.candidates import Candidates, Continuations, num_candidates
from antiphon.search.config import SearchConfig
from antiphon.search.constants import NEG_INF
from antiphon.search.next_token.beam import best_continuations, merge_top_ids
from antiphon.search.next_token.beam_groups import choose_by_groups
from antiphon.search.next_token.phrase_banks import banked_continuations
from antiphon.search.next_token.scores import next_token_scores
from antiphon.search.state import SearchState


def candidates_of_top_ids(log_p: Tensor, ids: Tensor, state: SearchState, config: SearchConfig) -> Candidates:
    """The candidates (N, 1, C) among the most probable `ids` (R, k) of each hypothesis, with their `log_p` (R, k)."""
    if config.min_new_tokens:
        is_short = state.lengths - state.limits.prefix_length < config.min_new_tokens
        excluded = (ids == config.special_tokens.end) & is_short.repeat_interleave(state.value.shape[1])[:, None]
        log_p, order = log_p.masked_fill(excluded, NEG_INF).sort(dim=1, descending=True, stable=True)
        most = num_candidates(config.width)
        log_p, ids = log_p[:, :most], ids.gather(1, order)[:, :most]
    found, gains = merge_top_ids(log_p, ids, state.value)
    return _with_scores(_one_group(found), gains, state)


def forced_ends(candidates: Candidates, state: SearchState, logits: Callable[[], Tensor], *, end: int) -> Candidates:
    """`candidates` (N, 1, C), but for hypotheses with one token left `end` alone, with score 0.

    `logits` returns those of all hypotheses, (R, V).
    """
    is_last = state.limits.limit - state.lengths == 1
    rows = is_last.nonzero()[:, 0]
    if rows.numel() == 0:
        return candidates
    width = state.value.shape[1]
    log_p = log_softmax(logits().view(*state.value.shape, -1)[rows])[:, :, end]
    values, parents = state.value[rows].sort(dim=1, descending=True, stable=True)
    scores = state.score[rows].gather(1, parents) + log_p.gather(1, parents)
    count = min(width, candidates.tokens.shape[2])
    parts = [part.clone() for part in candidates]
    parts[2][rows] = NEG_INF
    for part, new in zip(parts, (parents, torch.full_like(parents, end), values, scores), strict=True):
        part[rows, 0, :count] = new[:, :count].to(part.dtype)
    return Candidates(*parts)


def candidates_of_all_ids(
    logits: Tensor, state: SearchState, config: SearchConfig, *, length: int | None
) -> Candidates:
    """The candidates (N, G, C) among all ids, from logits (R, V) of hypotheses of `length` tokens (None: of different
    lengths).

    Logits processors and constraints apply.
    """
    log_p, scores = next_token_scores(logits, state, config, length=length)
    if config.sampler is not None:
        found = _sampled(scores, state, config)
    elif config.groups == 1:
        found = _one_group(_best(log_p, scores.view(*state.value.shape, -1), slice(None), state, config))
    else:
        found = choose_by_groups(
            scores.view(*state.value.shape, -1),
            state.value,
            groups=config.groups,
            penalty=config.diversity_penalty,
            end=config.special_tokens.end,
            choose=lambda own, group: _best(log_p, own, group, state, config),
        )
    index = found.parents.flatten(1) * log_p.shape[1] + found.tokens.flatten(1)
    return _with_scores(found, log_p.view(index.shape[0], -1).gather(1, index), state)


def _sampled(scores: Tensor, state: SearchState, config: SearchConfig) -> Continuations:
    """One candidate of each hypothesis, (N, 1, W), drawn by scores (R, V)."""
    assert config.sampler is not None and state.random is not None
    tokens = config.sampler.draw(scores, state.random.uniform(state.lengths).flatten())
    gains = scores.gather(1, tokens[:, None]).view_as(state.value)
    return _one_group(Continuations(state.places, tokens.view_as(state.value), state.value + gains))


def _best(log_p: Tensor, scores: Tensor, group: slice, state: SearchState, config: SearchConfig) -> Continuations:
    """The best candidates (N, C) of a group of hypotheses with scores (N, W/G, V); log_p (R, V) is of all."""
    value, constraints = state.value[:, group], state.constraints
    if constraints is None or not constraints.uses_banks:
        return best_continuations(scores, value)
    log_p, progress, costs = (
        each.view(*state.value.shape, -1)[:, group] for each in (log_p, constraints.progress(), constraints.costs)
    )
    return banked_continuations(
        scores,
        value,
        banks=costs * constraints.banked[:, :, None],
        progress=progress,
        ending=log_p[:, :, config.special_tokens.end] >= log_p.amax(2),
    )


def _with_scores(found: Continuations, log_p: Tensor, state: SearchState) -> Candidates:
    """`found` (N, G, C) with the model's own sums; `log_p` (N, G·C) are those of their tokens."""
    scores = state.score.gather(1, found.parents.flatten(1)) + log_p
    return Candidates(*found, scores.view_as(found.values))


def _one_group(found: Continuations) -> Continuations:
    """(N, C) -> (N, 1, C)"""
    return Continuations(*(each[:, None] for each in found))
