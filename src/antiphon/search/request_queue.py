"""Requests that wait for a place in a running batch. Several are encoded together, however few can join at once.

queue = RequestQueue(requests)
queue.add(more)
while queue:
    for some, prepared in queue.take(free, prepare=prepare):
        ...
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from antiphon.nn.state import DecoderState
from antiphon.search.requests import Request

ENCODE_AHEAD_TOKENS = 512  # source tokens, with padding, that are encoded together


class Waiting(NamedTuple):
    """A request and its number, which is its index in the search."""

    number: int
    request: Request


class Prepared(NamedTuple):
    """The decoder states of some sources whose prefixes were read, and the scores (n,) of these."""

    state: DecoderState
    scores: Tensor

    def part(self, sources: slice) -> Prepared:
        """Those of some sources."""
        return Prepared(self.state.part(sources), self.scores[sources])


Prepare = Callable[[Sequence[Request]], Prepared]


class RequestQueue:
    """A queue of requests, first in, first out."""

    def __init__(self, requests: Iterable[Waiting] = ()) -> None:
        self._waiting = deque(requests)
        self._encoded: list[Waiting] = []  # those that were encoded last
        self._prepared: Prepared | None = None  # of all `_encoded`
        self._num_taken = 0  # of `_encoded`

    def __len__(self) -> int:
        return len(self._waiting) + len(self._encoded) - self._num_taken

    def add(self, requests: Iterable[Waiting]) -> None:
        """Put requests at the end."""
        self._waiting.extend(requests)

    def remove(self, index: int) -> bool:
        """Take back the request `index`; False if it is not among those that wait, or is encoded already."""
        place = next((place for place, each in enumerate(self._waiting) if each.number == index), None)
        if place is None:
            return False
        del self._waiting[place]
        return True

    def take(self, count: int, *, prepare: Prepare) -> Iterator[tuple[list[Waiting], Prepared]]:
        """The next `count` requests, or fewer if there are not so many, in parts with their decoder states.

        `prepare` makes the states of requests whose prefixes have one length.
        """
        while count and self:
            if self._num_taken == len(self._encoded):
                self._encode_next(count, prepare)
            assert self._prepared is not None
            first, self._num_taken = self._num_taken, min(self._num_taken + count, len(self._encoded))
            count -= self._num_taken - first
            yield self._encoded[first : self._num_taken], self._prepared.part(slice(first, self._num_taken))

    def _encode_next(self, count: int, prepare: Prepare) -> None:
        """Encode `count` requests, or more while they have no more than ENCODE_AHEAD_TOKENS tokens."""
        self._encoded, self._prepared, self._num_taken, longest = [], None, 0, 0
        while self._waiting:
            request = self._waiting[0].request
            longest = max(longest, len(request.source))
            if len(self._encoded) >= count and (len(self._encoded) + 1) * longest > ENCODE_AHEAD_TOKENS:
                break
            if self._encoded and len(request.prefix) != len(self._encoded[0].request.prefix):
                break
            self._encoded.append(self._waiting.popleft())
        self._prepared = prepare([each.request for each in self._encoded])
