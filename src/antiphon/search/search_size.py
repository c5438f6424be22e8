"""The size of a search that further requests join."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from antiphon.nn.mixers import Memory
from antiphon.search.requests import Request


class SearchSize(NamedTuple):
    """The most sources at once, the most tokens of a source and of an answer with its prefix and end, and the most
    positions of a memory. `stays`: the search goes on when there are no sources."""

    sources: int
    source_tokens: int
    answer_tokens: int
    positions: int = 0
    stays: bool = False

    @classmethod
    def of(cls, requests: Sequence[Request]) -> Self:
        """The size of `requests`."""
        return cls(len(requests), max(len(each.source) for each in requests), max(each.limit for each in requests))

    def over(self, memory: Memory, longest: int) -> SearchSize:
        """This size for sources whose longest one has `longest` tokens and this memory.

        If the memory has a position for each token, the memory of any source can be predicted; otherwise none may be
        longer than those that are there.
        """
        positions = memory.hidden.shape[1]
        if positions == longest:
            return self._replace(positions=max(self.source_tokens, longest))
        return self._replace(positions=positions, source_tokens=min(self.source_tokens, longest))

    def fits(self, request: Request) -> bool:
        """Whether `request` may join."""
        return len(request.source) <= self.source_tokens and request.limit <= self.answer_tokens
