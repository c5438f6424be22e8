"""Requests that wait for a place in a running batch. Several are encoded together, however few can join at once.

queue = RequestQueue(requests)
while queue:
    for some, state in queue.take(free, encode=stepper.prepared):
        stepper.join(state, len(some))
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from antiphon.nn.state import DecoderState
from antiphon.search.requests import Request

Encode = Callable[[list[list[int] | Tensor]], DecoderState]

ENCODE_AHEAD_TOKENS = 512  # source tokens, with padding, that are encoded together


class RequestQueue:
    """A queue of `requests`, first in, first out."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._waiting = deque(requests)
        self._encoded: list[Request] = []  # those that were encoded last
        self._state: DecoderState | None = None  # of all `_encoded`
        self._num_taken = 0  # of `_encoded`

    def __bool__(self) -> bool:
        return bool(self._waiting or self._num_taken < len(self._encoded))

    def take(self, count: int, *, encode: Encode) -> Iterator[tuple[list[Request], DecoderState]]:
        """The next `count` requests, or fewer if there are not so many, in parts with their decoder states.

        `encode` makes the states of some sources before their first token.
        """
        while count and self:
            if self._num_taken == len(self._encoded):
                self._encode_next(count, encode)
            assert self._state is not None
            first, self._num_taken = self._num_taken, min(self._num_taken + count, len(self._encoded))
            count -= self._num_taken - first
            yield self._encoded[first : self._num_taken], self._state.part(slice(first, self._num_taken))

    def _encode_next(self, count: int, encode: Encode) -> None:
        """Encode `count` requests, or more while they have no more than ENCODE_AHEAD_TOKENS tokens."""
        self._encoded, self._num_taken, longest = [], 0, 0
        while self._waiting:
            longest = max(longest, len(self._waiting[0].source))
            if len(self._encoded) >= count and (len(self._encoded) + 1) * longest > ENCODE_AHEAD_TOKENS:
                break
            self._encoded.append(self._waiting.popleft())
        self._state = encode([request.source for request in self._encoded])
