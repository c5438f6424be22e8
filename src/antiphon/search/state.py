"""All that a search holds of the sources of a batch and their hypotheses, as one dataclass of tensors.

    state.select(staying)             # sources that are finished leave
    state.append(joining)             # sources that waited join
    state.advance(candidates, ...)    # hypotheses are reordered and get one more token each

Shapes: N sources, W hypotheses of each, C candidates of a source, T the longest answer (`limits.capacity`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from antiphon.models.protocol import Seq2Seq
from antiphon.nn.mixers import Memory
from antiphon.runtime.inference import sum_type
from antiphon.search.batch_state import PART, PER_HYPOTHESIS, PER_SOURCE, BatchState
from antiphon.search.candidates import Candidates
from antiphon.search.config import SearchConfig
from antiphon.search.constants import NEG_INF
from antiphon.search.constraint_state import ConstraintState
from antiphon.search.coverage import Coverage
from antiphon.search.hypotheses import FinishedHypotheses
from antiphon.search.length_limits import LengthLimits
from antiphon.search.next_token.ctc_prefix import CTCPrefixScores, ctc_scores_of
from antiphon.search.next_token.sampling import HypothesisRandom
from antiphon.search.requests import Request


@dataclass(eq=False)
class SearchState(BatchState):
    """The open sources of a search. `BatchState` says what the metadata of a field means."""

    request_index: list[int] = field(metadata=PER_SOURCE)  # which request each source is
    lengths: Tensor = field(metadata=PER_SOURCE)  # (N,): tokens of each open hypothesis
    num_ended: Tensor = field(metadata=PER_SOURCE)  # (N,): hypotheses that have ended so far
    score: Tensor = field(metadata=PER_HYPOTHESIS)  # (N, W): the model's own sums of log-probabilities
    value: Tensor = field(metadata=PER_HYPOTHESIS)  # (N, W): the sums that are compared; -inf: no such hypothesis
    history: Tensor = field(metadata=PER_HYPOTHESIS)  # (N, W, T): ids so far, without the start token
    limits: LengthLimits = field(metadata=PART)
    finished: FinishedHypotheses = field(metadata=PART)
    constraints: ConstraintState | None = field(metadata=PART)  # None: no answer is constrained
    random: HypothesisRandom | None = field(metadata=PART)  # None: nothing is sampled
    coverage: Coverage | None = field(default=None, metadata=PART)  # None: no coverage penalty
    ctc: CTCPrefixScores | None = field(default=None, metadata=PART)  # None: the decoder alone scores

    @classmethod
    def start(
        cls,
        requests: Sequence[Request],
        config: SearchConfig,
        *,
        vocab_size: int,
        device: torch.device,
        capacity: int | None = None,
    ) -> Self:
        """The state of `requests` before their first token.

        `capacity` is T (None: the largest limit).
        """
        count, width = len(requests), config.width
        limits = LengthLimits(requests, config, device=device, capacity=capacity)
        score, value = _initial_sums(count, config, device=device)
        constraints = [request.restriction for request in requests]
        seeds = [request.seed for request in requests]
        keys = torch.tensor([request.row + (request.piece << 32) for request in requests], device=device)
        return cls(
            request_index=list(range(count)),
            lengths=torch.zeros(count, dtype=torch.long, device=device),
            num_ended=torch.zeros(count, dtype=torch.long, device=device),
            score=score,
            value=value,
            history=torch.zeros((count, width, limits.capacity), dtype=torch.long, device=device),
            limits=limits,
            finished=FinishedHypotheses(score, capacity=limits.capacity),
            constraints=(
                ConstraintState(constraints, width=width, vocab_size=vocab_size, device=device)
                if any(constraints)
                else None
            ),
            random=None if config.sampler is None else HypothesisRandom(seeds, keys, width),
        )

    @property
    def rows(self) -> Tensor:
        """`history` with one row for each hypothesis, (N·W, T), of the same memory."""
        return self.history.flatten(0, 1)

    @property
    def places(self) -> Tensor:
        """(N, W): 0 to W - 1 for each source, which are the parents if every hypothesis continues itself."""
        return torch.arange(self.value.shape[1], device=self.value.device).expand_as(self.value)

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        if self.constraints is not None and rows.numel() and not any(self.constraints.constraints):
            self.constraints = None

    def force(self, ids: Tensor, *, constrained_from: int) -> None:
        """All hypotheses of a source begin with its `ids` (N, P).

        Its constraint does not see the first `constrained_from` of them.
        """
        self.history[:, :, : ids.shape[1]] = ids[:, None]
        self.lengths += ids.shape[1]
        if self.constraints is not None:
            for column in ids[:, constrained_from:].T:
                tokens = column[:, None].expand_as(self.value)
                self.constraints.advance(tokens, torch.ones_like(tokens, dtype=torch.bool))

    def read_frames(self, network: Seq2Seq, memory: Memory, requests: Sequence[Request], config: SearchConfig) -> None:
        """Let the CTC head of `network` score too, from here on, behind the prefixes of `requests`."""
        self.ctc = ctc_scores_of(
            network,
            memory,
            [request.prefix[len(config.special_tokens.first) :] for request in requests],
            width=config.width,
            weight=config.ctc_weight,
            end=config.special_tokens.end,
        )

    def collect(self, candidates: Candidates, *, unique: bool = False, with_tokens: bool = True) -> None:
        """Put candidates (N, C) with a value above -inf among the finished hypotheses.

        Their ids are those of their parents and, unless `with_tokens` is false, their own tokens at the last of
        `lengths`. `unique` as in `FinishedHypotheses.add`.
        """
        parents, tokens, values, scores = candidates
        ids = self.history.gather(1, parents[:, :, None].expand(-1, -1, self.history.shape[2]))
        if with_tokens:
            ids.scatter_(2, (self.lengths - 1)[:, None, None].expand(*tokens.shape, 1), tokens[:, :, None])
        rank = values / self.limits.length_divisor(self.lengths)
        if self.coverage is not None:
            rank = rank + self.coverage.penalty().gather(1, parents)
        self.finished.add(rank, scores, ids, self.lengths, unique=unique)
        self.num_ended += (rank > NEG_INF).sum(1)

    def advance(self, chosen: Candidates, *, reorders: bool) -> None:
        """The hypotheses become the candidates `chosen` (N, W), whose tokens are the last of `lengths`.

        `reorders` is false if every hypothesis continues itself.
        """
        if reorders:
            self.reorder(chosen.parents)
        places = (self.lengths - 1)[:, None].expand_as(chosen.tokens)
        self.history.scatter_(2, places[:, :, None], chosen.tokens[:, :, None])
        self.value, self.score = chosen.values, chosen.scores
        if self.ctc is not None:
            self.ctc.advance(chosen.tokens)
        if self.constraints is not None:
            self.constraints.advance(chosen.tokens, chosen.values > NEG_INF)


def _initial_sums(count: int, config: SearchConfig, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """`score` and `value` (N, W) of `count` sources before their first token."""
    score = torch.zeros((count, config.width), dtype=sum_type(device), device=device)
    value = score.clone()
    if config.sampler is None:
        is_first = torch.arange(config.width, device=device) % (config.width // config.groups) == 0
        value[:, ~is_first] = NEG_INF  # all hypotheses of a group are still the same one
    return score, value
