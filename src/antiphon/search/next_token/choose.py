"""The candidates of a step: sampling, beam search and diverse beam search differ in this file alone.

Shapes: N sources, W hypotheses of each in G groups, R = N·W, C candidates of a group, V ids, k ids of a hypothesis.
"""

from __future__ import annotations

from torch import Tensor

from antiphon.search.candidates import Candidates, Continuations
from antiphon.search.config import SearchConfig
from antiphon.search.next_token.beam import best_continuations, merge_top_ids
from antiphon.search.next_token.beam_groups import choose_by_groups
from antiphon.search.next_token.phrase_banks import banked_continuations
from antiphon.search.next_token.scores import next_token_scores
from antiphon.search.state import SearchState


def candidates_of_top_ids(log_p: Tensor, ids: Tensor, state: SearchState) -> Candidates:
    """The candidates (N, 1, C) among the most probable `ids` (R, k) of each hypothesis, with their `log_p` (R, k)."""
    found, gains = merge_top_ids(log_p, ids, state.value)
    return _with_scores(_one_group(found), gains, state)


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
