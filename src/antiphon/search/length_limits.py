"""How long the answers of a batch may become, how long their forced prefixes are, and the length penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from antiphon.runtime.inference import sum_type
from antiphon.search.batch_state import PER_SOURCE, SHARED, BatchState
from antiphon.search.config import SearchConfig
from antiphon.search.requests import Request


@dataclass(init=False, eq=False)
class LengthLimits(BatchState):
    """The limit and the length of the forced prefix of the answer of each source.

    Shapes: N sources, T the longest answer (`capacity`).
    """

    limit: Tensor = field(metadata=PER_SOURCE)  # (N,): the most tokens of an answer, prefix and end included
    prefix_length: Tensor = field(metadata=PER_SOURCE)  # (N,)
    user_prefix_length: Tensor = field(metadata=PER_SOURCE)  # (N,): without the first tokens of `SpecialTokens`
    min_limit: int = field(metadata=SHARED)  # the smallest limit of the sources that are left
    capacity: int = field(metadata=SHARED)  # at least the largest limit of all sources
    divisors: Tensor = field(metadata=SHARED)  # (T + 2,): the length penalty of each length

    def __init__(
        self, requests: Sequence[Request], config: SearchConfig, *, device: torch.device, capacity: int | None = None
    ) -> None:
        """`capacity` None: the largest limit."""
        limits, lengths = [r.limit for r in requests], [len(r.prefix) for r in requests]
        assert all(map(int.__lt__, lengths, limits)), "a limit must be longer than the prefix"
        self.capacity, self.min_limit = capacity or max(limits), min(limits)
        self.limit = torch.tensor(limits, device=device)
        self.prefix_length = torch.tensor(lengths, device=device)
        self.user_prefix_length = (self.prefix_length - len(config.special_tokens.first)).clamp(min=0)
        divisors = [config.length_divisor(length) for length in range(self.capacity + 2)]
        self.divisors = torch.tensor(divisors, dtype=sum_type(device), device=device)

    def length_divisor(self, lengths: Tensor) -> Tensor:
        """The length penalty (N, 1) of answers of `lengths` (N,) tokens: sums of log-probabilities are divided by it.

        The tokens of a prefix that the user forced do not count.
        """
        return self.divisors[(lengths - self.user_prefix_length).clamp(min=0)][:, None]

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        self.min_limit = int(self.limit.min()) if rows.numel() else self.capacity

    def append(self, other: BatchState) -> None:
        assert isinstance(other, LengthLimits) and other.capacity <= self.capacity
        super().append(other)
        self.min_limit = min(self.min_limit, other.min_limit)
