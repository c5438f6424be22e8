"""One token further: how a search asks the network, step by step.

The first time, the step is computed by the network's own code while it is written down (antiphon.nn.native); from then
on it is run as it was written, without that code. Sources that have ended leave by an exchange of rows, so that the
same program serves fewer of them. Where a step cannot be written down, or there are no kernels, the network's code is
called each time: the answers are the same.

    stepper = Stepper(network, memory, width=4, capacity=40, candidates=8, never=[0, 1])
    stepper.read(start, tokens)                    # a whole prefix
    stepper.step(ids, 3)                           # one token a hypothesis, at position 3
    stepper.logits, stepper.best                   # (R, V); what may follow: (R, 8) twice

Shapes: N sources, W hypotheses of each, R = N·W, V ids.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.cache import DecoderState
from antiphon.nn.mixers import Memory
from antiphon.nn.native import kernels
from antiphon.nn.native.program import Program
from antiphon.nn.native.record import Unrecordable, recording

Best = tuple[Tensor, Tensor]  # log-probabilities and ids, (R, k) each

CALLS = 12  # operations without a kernel from which a program for all rows is too much for half of them
CLOSE = 1e-3  # how far, of the largest logit, a step that is run again may be from the network's own


class Stepper:
    """The hypotheses of a batch on their way through the network.

    `candidates`: how many of the most probable ids, `never` left out, `best` holds; None: nobody asks for them.
    `records`: whether steps are written down; None: where it was tried and found right.
    """

    best: Best | None = None

    def __init__(
        self,
        network: EncoderDecoder,
        memory: Memory,
        *,
        width: int,
        capacity: int,
        candidates: int | None = None,
        never: Sequence[int] = (),
        records: bool | None = None,
    ) -> None:
        self.network, self.memory, self.width, self.capacity = network, memory, width, capacity
        self.state: DecoderState = network.begin(memory, width=width, capacity=capacity)
        self.sources = memory.hidden.shape[0]
        self.candidates, self.never = candidates, torch.tensor(sorted(never), dtype=torch.long)
        self._written: _Written | None = None
        able = records is not False and kernels.usable(memory.hidden)
        self._records = able and (records is True or recordable(network, memory))

    def read(self, ids: Tensor, tokens: Tokens) -> Tensor:
        """The network reads `ids` (R, L), by its own code: their hidden vectors (R, L, D)."""
        hidden, _ = self.network.decode(ids, tokens, self.memory, self.state)
        self.logits = self.network.logits(hidden[:, -1])
        self._choose()
        return hidden

    def step(self, ids: Tensor, place: int) -> None:
        """One token of each hypothesis, (R,), at position `place`."""
        if not self._records:
            pos = torch.full((1, 1), place, device=ids.device)
            self.read(ids[:, None], Tokens(pos))
            return
        written = self._written
        if written is not None and written.heavy and 2 * self.sources <= written.sources:
            self._shrink(written.sources)
            written = None
        if written is None:
            self._written = _Written(self, ids, place)
        else:
            written.run(ids, place, self.sources)
        self._take()
        self.state.filled(place + 1)

    def _take(self) -> None:
        assert self._written is not None
        rows = self.sources * self.width
        self.logits = self._written.logits[:rows]
        self.best = None if self._written.best is None else (self._written.best[0][:rows], self._written.best[1][:rows])

    def _choose(self) -> None:
        fits = self.candidates is not None and kernels.usable(self.logits)
        self.best = self.top(self.logits) if fits else None

    def top(self, logits: Tensor) -> Best:
        """The candidates of logits (R, V)."""
        assert self.candidates is not None
        return kernels.top(logits, min(self.candidates, logits.shape[1]), self.never if self.never.numel() else None)

    def keep(self, staying: Tensor) -> Tensor:
        """Only the sources `staying` (n,) remain; the order in which they do."""
        if self._written is None:
            self.memory = self.memory.select(staying)
            self.state.drop(staying)
            self.sources = staying.numel()
            return staying
        count, places = staying.numel(), staying.tolist()
        holes, late = sorted(set(range(count)) - set(places)), [place for place in places if place >= count]
        order = list(range(count))
        for hole, place in zip(holes, late, strict=True):
            order[hole] = place
        if holes:
            self.state.move(torch.tensor(holes), torch.tensor(late))
            self._written.program.refresh()
        self.sources = count
        return torch.tensor(order)

    def _shrink(self, sources: int) -> None:
        """Leave the rows out that are not in use any more, of `sources`."""
        assert self.sources < sources
        # The memory itself is only asked for its hidden vectors where a state begins.
        self.state.drop(torch.arange(self.sources))
        self.memory = self.memory.select(torch.arange(self.sources))
        self._written = None


class _Written:
    """A step that was written down, for `sources` sources or fewer."""

    def __init__(self, stepper: Stepper, ids: Tensor, place: int) -> None:
        self.sources = stepper.sources
        rows = self.sources * stepper.width
        self.ids, self.pos = ids.reshape(rows, 1).clone(), torch.full((1, 1), place)
        with recording(stepper.capacity + 1) as notes:
            hidden, _ = stepper.network.decode(self.ids, Tokens(self.pos), stepper.memory, stepper.state)
            self.logits = stepper.network.logits(hidden[:, -1])
            self.best = stepper.top(self.logits) if stepper.candidates is not None else None
        self.program = Program(
            notes.entries,
            each=[self.ids, self.pos],
            now_and_then=stepper.state.leaves,
            rows=(self.sources, rows),
            results=[self.logits, *(self.best or ())],
        )
        self.heavy = self.program.calls > CALLS

    def run(self, ids: Tensor, place: int, sources: int) -> None:
        self.ids[: ids.numel(), 0] = ids.flatten()
        self.pos.fill_(place)
        self.program.run(sources)


_verdicts: weakref.WeakKeyDictionary[EncoderDecoder, bool] = weakref.WeakKeyDictionary()


def recordable(network: EncoderDecoder, memory: Memory) -> bool:
    """Whether a step of `network` can be written down and then gives what the network's own code gives.

    Tried once a network, with the first source of `memory` and two hypotheses of it.
    """
    found = _verdicts.get(network)
    if found is None:
        found = _verdicts[network] = _tried(network, memory)
    return found


def _tried(network: EncoderDecoder, memory: Memory) -> bool:
    ids = torch.arange(4).remainder(network.table_sizes[1])
    one = memory.select(torch.zeros(1, dtype=torch.long))
    plain, again = (Stepper(network, one, width=2, capacity=3, records=records) for records in (False, True))
    try:
        for place in range(2):
            for stepper in (plain, again):
                stepper.step(ids[2 * place : 2 * place + 2], place)
    except Unrecordable:
        return False
    return bool((plain.logits - again.logits).abs().max() <= CLOSE * plain.logits.abs().max())
