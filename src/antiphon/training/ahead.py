"""Batches that are made before their step begins, while a GPU still computes the step before.

    ahead = BatchPrefetcher(stream, make)         # make() takes what a step needs from the stream, by ahead.draw()
    ahead.prepare()                     # while the device is busy
    made = ahead.take()                 # what was prepared, else what is made now

To whom it shows its position, nothing was read ahead: `epoch`, `pass_of_last` and `state()` are those behind the step
that was taken last, so that a resumed run makes again what no step has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from antiphon.batch import Batch, Example

Made = tuple[list[Example], Batch]  # a micro-batch: its examples, and what the network reads


class BatchStream(Protocol):
    """Endless batches with a position that can be saved (data/batching.py)."""

    epoch: int

    def __next__(self) -> list[Example]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class PreparedStep(NamedTuple):
    """What the next step takes, the pass that its last batch lies in, and where the stream was before."""

    made: list[Made]
    pass_of_last: int
    epoch: int
    state: dict[str, Any]


class BatchPrefetcher:
    """`stream`, of which `make` reads the micro-batches of one step."""

    def __init__(self, stream: BatchStream, make: Callable[[], list[Made]]) -> None:
        self.stream, self.make = stream, make
        self.prepared: PreparedStep | None = None
        self.pass_of_last = 0  # the pass over the data, from 1, in which the last batch of the last step lies
        self._drawn = 0  # the same of the batch that was drawn last

    @property
    def epoch(self) -> int:
        """The passes that are complete before the next step."""
        return self.stream.epoch if self.prepared is None else self.prepared.epoch

    def prepare(self) -> None:
        """Make what the next step takes."""
        if self.prepared is None:
            epoch, state = self.stream.epoch, self.stream.state()
            made = self.make()
            self.prepared = PreparedStep(made, self._drawn, epoch, state)

    def draw(self) -> list[Example]:
        """The next micro-batch of the stream, for `make`."""
        self._drawn = self.stream.epoch + 1
        return next(self.stream)

    def take(self) -> list[Made]:
        """The micro-batches of the next step."""
        prepared, self.prepared = self.prepared, None
        made = self.make() if prepared is None else prepared.made
        self.pass_of_last = self._drawn if prepared is None else prepared.pass_of_last
        return made

    def state(self) -> dict[str, Any]:
        """The position of the next step, as plain values."""
        return self.stream.state() if self.prepared is None else self.prepared.state

    def restore(self, state: dict[str, Any]) -> None:
        """Goes to a position that `state()` gave."""
        self.prepared = None
        self.stream.restore(state)
