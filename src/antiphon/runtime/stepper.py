"""One token further: how a search asks the network, step by step.

The first time, the step is computed by the network's own code while it is written down (`written.py`); from then on it
is run as it was written, without that code. Sources that have ended leave by an exchange of rows, so that the same
program serves fewer of them. On a GPU a step is captured instead (`captured.py`). Where a step cannot be written down,
or there are no kernels, the network's code is called each time: the answers are the same.

    stepper = DecodeStepper(network, memory, width=4, capacity=40, wanted=TopKRequest(8, (0, 1), 2))
    stepper.read(start, tokens)                    # a whole prefix
    stepper.step(ids, 3)                           # one token a hypothesis, at position 3
    stepper.logits, stepper.best                   # (R, V); what may follow: (R, 8) twice

Shapes: N sources, W hypotheses of each, R = N·W, V ids.
"""

from __future__ import annotations

import contextlib
import weakref

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.errors import AntiphonError, AttentionError, memory_ran_out
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState
from antiphon.runtime import graph as captured
from antiphon.runtime.ancestry import settle
from antiphon.runtime.graph import GraphStep, GraphTopK
from antiphon.runtime.inference import as_rows
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.recorded import Best, KernelTopK, RecordedStep, TopKRequest, leave, take
from antiphon.runtime.recorder.record import Unrecordable

FEW = 8  # hypotheses of a batch that leaves what it wrote down to the next one; its sizes are multiples of ROUND
ROUND = 32
CLOSE = 1e-3  # how far, of the largest logit, a step that is run again may be from the network's own


class DecodeStepper:
    """The hypotheses of a batch on their way through the network.

    `wanted`: which ids `best` holds, None: nobody asks for them. `records`: whether steps are written down; None: where
    it was tried and found right. `joins`: sources may come when others have left, each at its own position; the
    attribute then says whether that is so (not on a GPU). `window`: as in `EncoderDecoder.encode`, of those.
    """

    best: Best | None = None
    _logits: Tensor | None = None  # where the network's own code made them
    _written: RecordedStep | GraphStep | None = None

    def __init__(
        self,
        network: EncoderDecoder,
        memory: Memory,
        *,
        width: int,
        capacity: int,
        wanted: TopKRequest | None = None,
        records: bool | None = None,
        joins: bool = False,
        window: int | None = None,
    ) -> None:
        self.window = window
        self.network, self.sources = network, memory.hidden.shape[0]
        kind = None if records is False else _kind_for(memory)
        self._kind = kind if records is True or (kind is not None and recordable(network, memory)) else None
        self.candidates = None if wanted is None else self._finder(wanted)
        self._shape: object = None
        whole = self._kind is RecordedStep
        self.joins = joins and self.sources > 1 and whole and _calls.get(network) == 0
        if whole and not self.joins and self.sources * width <= FEW and memory.tokens.segment is None:
            memory, capacity = memory.padded(_up(memory.hidden.shape[1])), _up(capacity)
            self._shape = (*memory.hidden.shape, memory.tokens.pos.shape, width, capacity, wanted)
        if self.joins:
            memory = Memory(memory.hidden, Tokens(memory.tokens.pos.expand(self.sources, -1).contiguous()))
        self.memory, self.capacity = memory, capacity
        self.slots, self.width = self.sources, width
        self.state = self._begin(memory)
        if self._shape is not None and (found := take(network, self._shape)) is not None:
            found.state.become(self.state)
            self._written, self.state, self.candidates = found, found.state, found.candidates
            found.program.refresh()

    def _finder(self, wanted: TopKRequest) -> KernelTopK | GraphTopK:
        size = self.network.vocab_size
        return GraphTopK(wanted, size, self.network.device) if self._kind is GraphStep else KernelTopK(wanted, size)

    def _begin(self, memory: Memory) -> DecoderState:
        state = self.network.begin(memory, width=self.width, capacity=self.capacity)
        if self.joins:
            state.spread(memory.hidden.shape[0])
        return state

    def read(self, ids: Tensor, tokens: Tokens, *, hold: bool = False) -> Tensor:
        """The network reads `ids` (R, L), by its own code: their hidden vectors (R, L, D)."""
        self._hold(hold)
        hidden, _ = self.network.decode(ids, tokens, self.memory, self.state)
        logits = self._logits = self.network.logits(hidden[:, -1])
        fits = self.candidates is not None and (isinstance(self.candidates, GraphTopK) or kernels.usable(logits))
        self.best = self.candidates.best(logits) if fits and self.candidates is not None else None
        return hidden

    @property
    def logits(self) -> Tensor:
        """(R, V), of the last step; to be asked for before rows leave or join."""
        if self._logits is not None:
            return self._logits
        assert self._written is not None
        return self._written.logits(self._rows)

    def step(self, ids: Tensor, place: int | Tensor, *, hold: bool = False) -> None:
        """One token of each hypothesis, (R,), at position `place`, or at those of each source (N,) where sources join;
        `hold`: the end may not follow yet."""
        self._hold(hold)
        if self._kind is None:
            pos = torch.full((1, 1), int(place), device=ids.device)
            self.read(ids[:, None], Tokens(pos), hold=hold)
            return
        written = self._written
        if written is not None and written.heavy and 2 * self.sources <= written.sources:
            written = self._shrink()
        if written is None:
            written = self._written = self._first(ids, place)
        elif isinstance(written, RecordedStep):
            written.run(ids, place, self.sources)
        else:
            try:
                written.run(ids, int(place), self.sources)
            except Unrecordable:  # nothing was done yet
                self._shrink()
                self._kind = None
                _verdicts.setdefault(self.network, {})[GraphStep] = False
                self.step(ids, place, hold=hold)
                return
        self._logits = None
        rows = self._rows = ids.numel()
        self.best = None if written.best is None else (written.best[0][:rows], written.best[1][:rows])
        self.state.filled(int(place if isinstance(place, int) else place.max()) + 1)

    def _first(self, ids: Tensor, place: int | Tensor) -> RecordedStep | GraphStep:
        """The step, written down while it is taken."""
        if isinstance(place, int):
            pos = torch.full((1, 1), place, device=ids.device)
        else:
            pos = place.repeat_interleave(self.width)[:, None]
        parts = (self.network, self.memory, self.state, ids, pos)
        if self._kind is GraphStep:
            assert not isinstance(self.candidates, KernelTopK)
            return GraphStep(*parts, candidates=self.candidates)
        assert not isinstance(self.candidates, GraphTopK)
        return RecordedStep(*parts, capacity=self.capacity, candidates=self.candidates)

    def _hold(self, end: bool) -> None:
        if self.candidates is not None and self.candidates.held != end:
            self.candidates.hold(end)

    def keep(self, staying: Tensor) -> Tensor:
        """Only the sources `staying` (n,) remain; the order in which they do."""
        if self._written is None:
            self.memory = self.memory.select(staying)
            self.state.drop(staying)
            self.sources, self._shape = staying.numel(), None  # what is written down now is for fewer
            return staying
        count, places = staying.numel(), staying.tolist()
        holes, late = sorted(set(range(count)) - set(places)), [place for place in places if place >= count]
        order = list(range(count))
        for hole, place in zip(holes, late, strict=True):
            order[hole] = place
        if holes:
            self.state.move(*(torch.tensor(part, device=staying.device) for part in (holes, late)))
            if isinstance(self._written, RecordedStep):
                self._written.program.refresh()
        self.sources = count
        return torch.tensor(order, dtype=torch.long, device=staying.device)

    @property
    def free(self) -> int:
        """How many sources may join."""
        return self.slots - self.sources if self.joins and self._written is not None else 0

    def prepared(self, sources: list[list[int] | Tensor]) -> DecoderState:
        """The state in which these sources may join, none longer than those from the beginning; `part` gives some."""
        source, tokens = as_rows(sources, self.memory.hidden.device)
        memory = self.network.encode(source, tokens, window=self.window)
        memory = Memory(memory.hidden, Tokens(memory.tokens.pos.expand(len(sources), -1)))
        found = self.network.begin(memory.padded(self.memory.hidden.shape[1]), width=self.width, capacity=1)
        found.spread(len(sources))
        return found

    def join(self, state: DecoderState, count: int) -> None:
        """`count` sources in a state that was `prepared` take the places of some that left; they come behind the
        others."""
        assert isinstance(self._written, RecordedStep) and count <= self.free
        self.state.write(torch.arange(self.sources, self.sources + count), state)
        self._written.program.refresh()
        self.sources += count

    def end(self) -> None:
        """Every source has ended: what was written down is for others."""
        if isinstance(self._written, RecordedStep) and self._shape is not None:
            leave(self.network, self._shape, self._written)
        self._written = None

    def _shrink(self) -> None:
        """Leave the rows out that are not in use any more."""
        rows = torch.arange(self.sources, device=self.memory.hidden.device)
        settle(self.state)
        self.state.drop(rows)
        self.memory = self.memory.select(rows)
        self._written = self._shape = None


def _up(size: int) -> int:
    return -(-size // ROUND) * ROUND


_calls: weakref.WeakKeyDictionary[EncoderDecoder, int] = weakref.WeakKeyDictionary()  # operations without a kernel
_verdicts: weakref.WeakKeyDictionary[EncoderDecoder, dict[object, bool]] = weakref.WeakKeyDictionary()  # by kind


def _kind_for(memory: Memory) -> type[RecordedStep] | type[GraphStep] | None:
    """How a step over `memory` is written down; None: it is not."""
    if kernels.usable(memory.hidden):
        return RecordedStep
    return GraphStep if captured.usable(memory.hidden) else None


def recordable(network: EncoderDecoder, memory: Memory) -> bool:
    """Whether a step of `network` can be written down and then gives what the network's own code gives.

    Tried once a network and kind, with the first source of `memory` and two hypotheses of it.
    """
    verdicts, kind = _verdicts.setdefault(network, {}), _kind_for(memory)
    if kind not in verdicts:
        first = memory.select(torch.zeros(1, dtype=torch.long, device=memory.hidden.device))
        verdicts[kind] = _captured(network, first) if kind is GraphStep else _tried(network, first)
    return verdicts[kind]


def _tried(network: EncoderDecoder, memory: Memory) -> bool:
    ids = torch.arange(4).remainder(network.vocab_size)
    plain, again = (DecodeStepper(network, memory, width=2, capacity=3, records=records) for records in (False, True))
    try:
        for place in range(2):
            for stepper in (plain, again):
                stepper.step(ids[2 * place : 2 * place + 2], place)
    except (Unrecordable, AttentionError) as error:
        if isinstance(error, AttentionError) and not isinstance(error.__cause__, Unrecordable):
            raise
        return False  # what a rule raises is told as an error of attention
    assert isinstance(again._written, RecordedStep)
    _calls[network] = again._written.program.calls
    return bool((plain.logits - again.logits).abs().max() <= CLOSE * plain.logits.abs().max())


def _captured(network: EncoderDecoder, memory: Memory) -> bool:
    """The same for a graph: four steps, of which the first is the network's own, and the last two see nothing of the
    Python code."""
    ids = torch.arange(8, device=memory.hidden.device).remainder(network.vocab_size).view(4, 2)
    plain, again = (DecodeStepper(network, memory, width=2, capacity=5, records=records) for records in (False, True))
    for place in range(4):
        plain.step(ids[place], place)
        try:
            with captured.watched() if place == 0 else contextlib.nullcontext():
                again.step(ids[place], place)
        except (Unrecordable, AntiphonError, RuntimeError) as error:
            if memory_ran_out(error):
                raise
            return False
        close = max(CLOSE, 4 * torch.finfo(plain.logits.dtype).eps)
        if not bool((plain.logits - again.logits).abs().max() <= close * plain.logits.abs().max()):
            return False
    return again._kind is GraphStep
