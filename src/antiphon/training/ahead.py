"""Prefetching: the batches of the next step are made while a GPU still computes the current one.

    ahead = BatchPrefetcher(stream, make)   # make() reads the micro-batches of a step from the stream with ahead.draw()
    ahead.prepare()                         # while the device is busy
    micro_batches = ahead.take()            # the prepared ones, or made now

Its position never includes prefetched batches: `epoch`, `pass_of_last` and `state()` are those after the last step that
was taken. So a resumed run makes the prefetched batches again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from antiphon.batch import Batch, Example

MicroBatch = tuple[list[Example], Batch | None]  # the examples, and the same collated; None: on another rank


class BatchStream(Protocol):
    """An endless stream of batches whose position can be saved (data/batching.py)."""

    @property
    def epoch(self) -> int: ...
    def __next__(self) -> list[Example]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class PreparedStep(NamedTuple):
    """The prefetched micro-batches of the next step, the pass of the last one, and the stream's position before."""

    micro_batches: list[MicroBatch]
    pass_of_last: int
    epoch: int
    state: dict[str, Any]


class BatchPrefetcher:
    """Prefetches from `stream`; `make` makes the micro-batches of one step."""

    def __init__(self, stream: BatchStream, make: Callable[[], list[MicroBatch]]) -> None:
        self.stream, self.make = stream, make
        self.prepared: PreparedStep | None = None
        self.pass_of_last = 0  # the pass over the data, from 1, of the last batch of the last step
        self._drawn = 0  # the pass of the batch that was drawn last

    @property
    def epoch(self) -> int:
        """The number of passes completed before the next step."""
        return self.stream.epoch if self.prepared is None else self.prepared.epoch

    def prepare(self) -> None:
        """Make the micro-batches of the next step."""
        if self.prepared is None:
            epoch, state = self.stream.epoch, self.stream.state()
            micro_batches = self.make()
            self.prepared = PreparedStep(micro_batches, self._drawn, epoch, state)

    def draw(self) -> list[Example]:
        """The next micro-batch of the stream; called by `make`."""
        self._drawn = self.stream.epoch + 1
        return next(self.stream)

    def take(self) -> list[MicroBatch]:
        """The micro-batches of the next step."""
        prepared, self.prepared = self.prepared, None
        micro_batches = self.make() if prepared is None else prepared.micro_batches
        self.pass_of_last = self._drawn if prepared is None else prepared.pass_of_last
        return micro_batches

    def state(self) -> dict[str, Any]:
        """The position before the next step, as plain JSON values."""
        return self.stream.state() if self.prepared is None else self.prepared.state

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a position returned by `state()`."""
        self.prepared = None
        self.stream.restore(state)
