"""Requests that wait for a place in a batch under way: encoded some at a time, as a processor likes it, however few of
them can join at once.

    waiting = RequestQueue(requests)
    while waiting:
        for some, state in waiting.take(free, encode=stepper.prepared):
            stepper.join(state, len(some))
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from antiphon.nn.state import DecoderState
from antiphon.search.hypotheses import Request

Encode = Callable[[list[list[int] | Tensor]], DecoderState]

AHEAD = 512  # source tokens, padding counted, that are encoded together


class RequestQueue:
    """`requests` in the order in which they come in."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._left = deque(requests)
        self._ready: list[Request] = []
        self._state: DecoderState | None = None  # of those that are ready and of those before them
        self._used = 0

    def __bool__(self) -> bool:
        return bool(self._left or self._used < len(self._ready))

    def take(self, most: int, *, encode: Encode) -> Iterator[tuple[list[Request], DecoderState]]:
        """The next `most`, or as many as there are, with the states in which they begin, as `encode` gives them."""
        while most and self:
            if self._used == len(self._ready):
                self._prepare(most, encode)
            assert self._state is not None
            first, self._used = self._used, min(self._used + most, len(self._ready))
            most -= self._used - first
            yield self._ready[first : self._used], self._state.part(slice(first, self._used))

    def _prepare(self, least: int, encode: Encode) -> None:
        """Encode the next ones: `least`, or as many as are worth it."""
        self._ready, self._used, longest = [], 0, 0
        while self._left:
            longest = max(longest, len(self._left[0].source))
            if len(self._ready) >= least and (len(self._ready) + 1) * longest > AHEAD:
                break
            self._ready.append(self._left.popleft())
        self._state = encode([request.source for request in self._ready])
