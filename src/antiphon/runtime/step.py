"""The interface of one decoding step of a batch, and the request for its most probable ids.

Three classes run a step: `EagerStep` calls the network's code, `RecordedStep` replays it by kernels on a CPU,
`GraphStep` as a CUDA graph. Their results are equal.

Shapes: N sources, W hypotheses of each, R = N·W, V ids, k requested ids.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from antiphon.nn.state import DecoderState

TopIds = tuple[Tensor, Tensor]  # log-probabilities and ids, (R, k) each, best first


class TopKRequest(NamedTuple):
    """The `k` most probable ids, without those in `never`."""

    k: int
    never: tuple[int, ...]


class TopK(Protocol):
    """Finds the requested ids in logits."""

    def best(self, logits: Tensor) -> TopIds: ...


class DecodeStep(Protocol):
    """A decoding step that can be run repeatedly. `state` is the decoding state, `best` the best ids of the last run,
    None if none were requested."""

    state: DecoderState
    best: TopIds | None

    def run(self, ids: Tensor, position: int | Tensor, sources: int) -> None:
        """Run the next token (R,) of the hypotheses of the first `sources`, at one position or one for each (n,)."""

    def logits(self, rows: int) -> Tensor:
        """The logits (rows, V) of the last run."""
        ...

    def keep(self, staying: Tensor) -> Tensor:
        """Keep only the sources `staying` (n,). Returns their new order."""
        ...

    def join(self, first: int, state: DecoderState, count: int) -> None:
        """Add `count` sources with their initial `state` at the rows from source `first` on."""

    def is_oversized(self, sources: int) -> bool:
        """Whether a new step for `sources` alone is worthwhile."""
        ...


class ReplayedStep:
    """What a recorded and a captured step share: inputs that stay at one address, and the rows that they were made for.

    `ids` (R,) and `pos` (rows, 1) are those of the first step. `heavy`: whether a step of fewer rows pays for itself
    once half of the sources have left.
    """

    heavy = False

    def __init__(self, state: DecoderState, ids: Tensor, pos: Tensor) -> None:
        self.state, self.sources = state, ids.numel() // state.width
        self.ids, self.pos = ids.reshape(-1, 1).clone(), pos.clone()

    def is_oversized(self, sources: int) -> bool:
        """Whether half of the sources have left a step that is heavy."""
        return self.heavy and 2 * sources <= self.sources


def fill_gaps(state: DecoderState, staying: Tensor) -> Tensor:
    """Move the sources `staying` (n,) to the first n rows, in place and with as few copies as possible. Returns their
    new order."""
    count, places = staying.numel(), staying.tolist()
    gaps, late = sorted(set(range(count)) - set(places)), [place for place in places if place >= count]
    order = list(range(count))
    for gap, place in zip(gaps, late, strict=True):
        order[gap] = place
    if gaps:
        state.move(*(torch.tensor(part, device=staying.device) for part in (gaps, late)))
    return torch.tensor(order, dtype=torch.long, device=staying.device)
