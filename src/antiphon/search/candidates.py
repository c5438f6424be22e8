"""The candidates of a step: each is a hypothesis of a source and its next token.

A beam needs 2·W candidates, twice as many as hypotheses: at most one candidate of a hypothesis is the end token, so at
least W of them go on. Shapes: N sources, W hypotheses of each, C candidates of a source.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from antiphon.runtime.step import TopKRequest
from antiphon.search.config import SearchConfig
from antiphon.search.next_token.logits_processors import MinNewTokens, SuppressTokens


class Continuations(NamedTuple):
    """Candidates (N, C) of each source, best first: the hypothesis that is continued, its next token, the new sum."""

    parents: Tensor  # in [0, W)
    tokens: Tensor
    values: Tensor  # the sums that the search compares


class Candidates(NamedTuple):
    """`Continuations` with the model's own sum of log-probabilities. All are (N, C), or (N, G, C) for G groups."""

    parents: Tensor
    tokens: Tensor
    values: Tensor
    scores: Tensor

    def gather(self, index: Tensor) -> Candidates:
        """Those at `index` of the last dimension."""
        return Candidates(*(each.gather(-1, index) for each in self))

    def first(self, count: int) -> Candidates:
        """The first `count` of each group, the groups as one: (N, G, C) -> (N, G·count)."""
        return Candidates(*(each[:, :, :count].flatten(1) for each in self))

    def select(self, rows: Tensor) -> Candidates:
        """Those of the sources `rows` (n,)."""
        return Candidates(*(each.index_select(0, rows) for each in self))


def num_candidates(width: int) -> int:
    """The number of candidates that a source with `width` hypotheses needs, and at most from one hypothesis."""
    return 2 * width if width > 1 else 1


def order_by_parent(parents: Tensor) -> Tensor:
    """The order (N, W) that puts as many hypotheses as possible at the place of their parent, `parents` (N, W).

    A beam whose hypotheses only changed their ranks then needs no reordering of caches.
    """
    width = parents.shape[1]
    repeated = (parents[:, :, None] == parents[:, None, :]).tril(-1).any(2)  # an earlier one has the same parent
    used = torch.zeros_like(repeated).scatter_(1, parents, True)
    unused = used.to(torch.uint8).sort(dim=1, stable=True).indices  # places that are nobody's parent come first
    place = torch.where(repeated, unused.gather(1, (repeated.cumsum(1) - 1).clamp(min=0)), parents)
    return torch.empty_like(place).scatter_(1, place, torch.arange(width, device=parents.device).expand_as(place))


def top_k_request(config: SearchConfig) -> TopKRequest | None:
    """The ids that the decoding step should return, if the model's most probable ids are all that the search needs.

    None if processors, sampling, groups or CTC need the whole logits.
    """
    suppressing = [processor for processor in config.processors if isinstance(processor, SuppressTokens)]
    simple = all(isinstance(processor, SuppressTokens | MinNewTokens) for processor in config.processors)
    if config.sampler is not None or config.groups > 1 or config.ctc_weight or not simple:
        return None
    never = {id for processor in suppressing for id in processor.ids.tolist()}
    # Where the end may not follow yet, it is removed from the ids that are found.
    return TopKRequest(num_candidates(config.width) + (config.min_new_tokens > 0), tuple(sorted(never)))
