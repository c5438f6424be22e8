"""Runs the decoding steps of a batch for a search.

The first step runs the network's own code while it is recorded (recorded.py); later steps replay it without that code.
Finished sources leave by an exchange of rows, so that the same program runs for fewer of them. On a GPU a step is
captured as a graph instead (graph.py). If a step can be neither recorded nor captured, the network's code is called
each time (eager.py), with the same answers. policy.py chooses.

    stepper = make_stepper(runtime, memory, width=4, capacity=40, wanted=TopKRequest(8, (0, 1)))     # policy.py
    stepper.read(ids)                              # a whole prefix
    stepper.step(ids, 3)                           # one token of each hypothesis, at position 3
    stepper.logits, stepper.best                   # (R, V); what may follow: (R, 8) twice

Shapes: N sources, W hypotheses of each, R = N·W, V ids.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.nn.backends import for_any_number_of_queries
from antiphon.nn.mixers import Memory
from antiphon.nn.ring import RingCache
from antiphon.nn.state import DecoderState
from antiphon.runtime.ancestry import materialize
from antiphon.runtime.eager import EagerStep
from antiphon.runtime.encoding import encode_sources
from antiphon.runtime.graph import GraphStep, GraphTopK
from antiphon.runtime.recorded import KernelTopK, RecordedStep
from antiphon.runtime.recorder.record import Unrecordable
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.step import DecodeStep, TopIds, TopKRequest

StepKind = type[RecordedStep] | type[GraphStep] | None  # how later steps are run; None: by the network's own code

MAX_STORED_ROWS = 8  # maximum hypotheses of a batch whose step is stored
SIZE_MULTIPLE = 32  # sizes of such a batch are rounded up, so that there are few shapes


class JoinSize(NamedTuple):
    """The size of a batch that sources join: the most sources at once, and the most positions of their memories."""

    sources: int
    positions: int


class DecodeStepper:
    """The hypotheses of a batch and their decoding steps.

    `wanted`: the request for `best`; None: `best` is None. `kind`: how steps are run after the first. `joins`: the size
    of the batch if sources may join (`policy.can_join`), each at its own position. Then the rows of sources that have
    left are used again, and there may be more rows than sources. `shrinks`: unused rows are removed from a step
    that computes them; set it when no more sources are to join. `window`: as in `EncoderDecoder.encode`, for sources
    that join.
    """

    def __init__(
        self,
        runtime: Runtime,
        memory: Memory,
        *,
        width: int,
        capacity: int,
        wanted: TopKRequest | None = None,
        kind: StepKind = None,
        joins: JoinSize | None = None,
        window: int | None = None,
    ) -> None:
        self.runtime, self.network, self.window = runtime, runtime.network, window
        self.sources = memory.hidden.shape[0]
        self.slots = self.sources if joins is None else max(joins.sources, self.sources)
        self.width, self._kind, self.joins, self.shrinks = width, kind, joins is not None, joins is None
        top = None if wanted is None else self._top(wanted)
        is_recorded = kind is RecordedStep
        self._shape: object = None  # the shape under which the step is stored
        few = self.sources * width <= MAX_STORED_ROWS
        if is_recorded and not self.joins and few and memory.tokens.segment is None:
            memory, capacity = memory.padded(_rounded(memory.hidden.shape[1])), _rounded(capacity)
            self._shape = (*memory.hidden.shape, memory.tokens.pos.shape, width, capacity, wanted)
        if joins is not None:
            memory = memory.with_own_positions().padded(max(joins.positions, memory.hidden.shape[1]))
        self.memory, self.capacity = memory, capacity
        self._eager = EagerStep(self.network, memory, self.initial(memory), top)
        self._step: DecodeStep = self._eager
        self._last: DecodeStep = self._eager  # it has the results of the last step
        if self._shape is not None and (stored := runtime.take(self._shape)) is not None:
            stored.state.copy_from(self._eager.state)
            self._step = stored
            self._eager.state, self._eager.top = stored.state, stored.candidates
            stored.program.refresh()

    @property
    def current(self) -> DecodeStep:
        """The object that runs the next step."""
        return self._step

    @property
    def state(self) -> DecoderState:
        """The decoding state, with a row for each hypothesis."""
        return self._step.state

    @property
    def best(self) -> TopIds | None:
        """The requested ids with their log-probabilities, (R, k) each; None if there is no request, or if the step
        cannot find them."""
        found = self._last.best
        if found is None or self._last is self._eager:
            return found
        return found[0][: self._rows], found[1][: self._rows]

    @property
    def logits(self) -> Tensor:
        """The logits (R, V) of the last step. Read them before rows leave or join."""
        return self._last.logits(self._rows)

    def read(self, ids: Tensor) -> Tensor:
        """Run the network's own code on prefixes `ids` (R, L) from position 0 on. Returns hidden vectors (R, L, D)."""
        self._last, self._rows = self._eager, ids.shape[0]
        with self._reading_prefix():
            return self._eager.read(ids, _from_zero(ids))

    def step(self, ids: Tensor, place: int | Tensor) -> None:
        """Run one token `ids` (R,) of each hypothesis at position `place`, or at those of each source (N,) if sources
        join."""
        if self.shrinks and self._step.is_oversized(self.sources):
            self._shrink()
        if self._kind is not None and self._step is self._eager:
            self._step = self._first(ids, place)
            self._eager.forget()
        else:
            try:
                self._step.run(ids, place, self.sources)
            except Unrecordable:  # nothing was computed
                self._shrink()
                self.runtime.verdicts[GraphStep] = False
                self._kind = None
                self._step.run(ids, place, self.sources)
        self._last, self._rows = self._step, ids.numel()
        if self._step is not self._eager:
            self.state.filled(int(place if isinstance(place, int) else place.max()) + 1)

    def keep(self, staying: Tensor) -> Tensor:
        """Keep only the sources `staying` (n,). Returns their new order."""
        order = self._step.keep(staying)
        self.sources = staying.numel()
        if self._step is self._eager:
            self.memory, self._shape = self._eager.memory, None  # a step recorded from now on has fewer rows
        return order

    @property
    def free(self) -> int:
        """The number of sources that may join."""
        return self.slots - self.sources if self.joins and self._step is not self._eager else 0

    def prepared(
        self, sources: Sequence[list[int] | Tensor], ids: Tensor | None = None
    ) -> tuple[DecoderState, Tensor | None]:
        """The state of sources that may join, whose memories have no more positions than `JoinSize` says.

        `ids` (n·W, P) are the first tokens of their hypotheses, which are read; also returned are their hidden vectors
        (n·W, P, D), None without ids. `DecoderState.part` selects some of the sources.
        """
        memory = encode_sources(self.runtime, sources, window=self.window)
        memory = memory.with_own_positions()
        # A cache that grows needs no more slots than the prefix has; one of constant size must be that of this batch.
        grows = not any(isinstance(own, RingCache) for own, _ in self.state.layers)
        state = self.initial(memory, capacity=(0 if ids is None else ids.shape[1]) + 1 if grows else None)
        if ids is None:
            return state, None
        with self._reading_prefix():
            return state, self.network.decode(ids, _from_zero(ids), memory, state)[0]

    def join(self, state: DecoderState, count: int) -> None:
        """Add `count` sources with a `prepared` state after the present ones, in rows of sources that left."""
        assert count <= self.free
        self._step.join(self.sources, state, count)
        self.sources += count

    def end(self) -> None:
        """Called when all sources are finished: store the recorded step for another batch."""
        if isinstance(self._step, RecordedStep) and self._shape is not None:
            self.runtime.store(self._shape, self._step)
        self._step = self._eager

    def _top(self, wanted: TopKRequest) -> KernelTopK | GraphTopK:
        size = self.network.vocab_size
        return GraphTopK(wanted, size, self.network.device) if self._kind is GraphStep else KernelTopK(wanted, size)

    def initial(self, memory: Memory, *, capacity: int | None = None) -> DecoderState:
        """The state of the hypotheses over `memory` before their first token; `capacity` None: that of the batch."""
        state = self.network.begin(memory, width=self.width, capacity=capacity or self.capacity)
        if self.joins:
            state.expand_rows(memory.hidden.shape[0])
        return state

    def _first(self, ids: Tensor, place: int | Tensor) -> RecordedStep | GraphStep:
        """Run a step and record it."""
        if isinstance(place, int):
            pos = torch.full((1, 1), place, device=ids.device)
        else:
            if self.slots > self.sources:
                self._eager.state.enlarge(self.slots)
                more = self.slots - self.sources
                place, ids = (functional.pad(*each) for each in ((place, (0, more)), (ids, (0, more * self.width))))
            pos = place.repeat_interleave(self.width)[:, None]
        parts, top = (self.network, self.memory, self._eager.state, ids, pos), self._eager.top
        if self._kind is GraphStep:
            assert top is None or isinstance(top, GraphTopK)
            return GraphStep(*parts, candidates=top)
        assert top is None or isinstance(top, KernelTopK)
        return RecordedStep(*parts, capacity=self.capacity, candidates=top)

    def _reading_prefix(self) -> contextlib.AbstractContextManager[None]:
        """In int8, the numbers of a prefix should not depend on other rows nor on padding, so that the kernel reads it,
        however many queries there are."""
        return for_any_number_of_queries() if self.runtime.is_quantized else contextlib.nullcontext()

    def _shrink(self) -> None:
        """Remove unused rows, and return to the network's own code."""
        rows = torch.arange(self.sources, device=self.memory.hidden.device)
        materialize(self.state)
        self._eager.keep(rows)
        self.memory, self._step, self._shape, self.slots = self._eager.memory, self._eager, None, self.sources


def _from_zero(ids: Tensor) -> Tokens:
    """The tokens of `ids` (R, L), which begin their rows."""
    return Tokens(torch.arange(ids.shape[1], device=ids.device)[None])


def _rounded(size: int) -> int:
    return -(-size // SIZE_MULTIPLE) * SIZE_MULTIPLE
