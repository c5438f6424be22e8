"""One decoding step of a batch: what every way of running it offers, and which ids are asked of it.

Three classes run a step: `EagerStep` calls the network's code, `RecordedStep` replays it by kernels on a CPU,
`GraphStep` as a CUDA graph. Their results are equal.

Shapes: N sources, W hypotheses of each, R = N·W, V ids, k ids that are asked for.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from antiphon.nn.state import DecoderState

TopIds = tuple[Tensor, Tensor]  # log-probabilities and ids, (R, k) each, best first


class TopKRequest(NamedTuple):
    """The `most` most probable ids but for `never`, and for `end` while that is held back."""

    k: int
    never: tuple[int, ...]
    end: int


class TopK(Protocol):
    """Finds the requested ids in logits. While `held` is true, the end is not among them."""

    held: bool

    def suppress_end(self, end: bool) -> None: ...

    def best(self, logits: Tensor) -> TopIds: ...


class DecodeStep(Protocol):
    """A decoding step that can be run again and again. `state` is the network's, `best` what the last run found, None
    where no ids were requested."""

    state: DecoderState
    best: TopIds | None

    def run(self, ids: Tensor, position: int | Tensor, sources: int) -> None:
        """One more token (R,) of the hypotheses of the first `sources`, at one position or at that of each (n,)."""

    def logits(self, rows: int) -> Tensor:
        """(rows, V) of the last run."""
        ...

    def keep(self, staying: Tensor) -> Tensor:
        """Only the sources `staying` (n,) remain; returns the order in which they do."""
        ...

    def join(self, first: int, state: DecoderState, count: int) -> None:
        """`count` sources take the places from `first` on, in the states that they begin with."""

    def is_oversized(self, sources: int) -> bool:
        """Whether a step made for `sources` alone would pay for itself."""
        ...


def fill_gaps(state: DecoderState, staying: Tensor) -> Tensor:
    """The sources `staying` (n,) move to the first n places, in place and with as few moves as possible; returns the
    order in which they stand there."""
    count, places = staying.numel(), staying.tolist()
    gaps, late = sorted(set(range(count)) - set(places)), [place for place in places if place >= count]
    order = list(range(count))
    for gap, place in zip(gaps, late, strict=True):
        order[gap] = place
    if gaps:
        state.move(*(torch.tensor(part, device=staying.device) for part in (gaps, late)))
    return torch.tensor(order, dtype=torch.long, device=staying.device)
