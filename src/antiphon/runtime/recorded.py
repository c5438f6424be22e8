"""A decoding step that is recorded once and replayed by kernels: for the first sources of a batch, or for all.

    step = RecordedStep(network, memory, state, ids, pos, capacity=64, candidates=KernelTopK(request, vocab_size))
    step.run(ids, position=3, sources=5)
    step.logits(rows), step.best

The step of a small batch is stored for the next batch of the same shape (`Runtime.take`, `Runtime.store`), so that
sentence after sentence is decoded without recording anything again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.models.protocol import Seq2Seq
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState
from antiphon.runtime.ancestry import trace
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.kernels.steps import run
from antiphon.runtime.pages import trim
from antiphon.runtime.recorder.fusion import output
from antiphon.runtime.recorder.program import Program
from antiphon.runtime.recorder.record import recording
from antiphon.runtime.step import TopIds, TopKRequest, fill_gaps

MAX_TORCH_CALLS = 12  # operations without a kernel from which a program for all rows is too much for half of them
TRIM_FROM_BYTES = (
    2**23
)  # bytes of a batch's states from which memory that was freed is given back, which takes milliseconds


class KernelTopK:
    """Finds what is wanted in logits; `ban` is told what is not to be found."""

    def __init__(self, wanted: TopKRequest, size: int) -> None:
        self.wanted, self.size = wanted, size
        self.ban = torch.empty(len(wanted.never) + 1, dtype=torch.long)
        self.suppress_end(False)

    def suppress_end(self, end: bool) -> None:
        """Whether the end is held back."""
        never = sorted({*self.wanted.never, *([self.wanted.end] if end else [])})
        never += [self.size] * (self.ban.numel() - len(never))  # which no id is
        self.ban.copy_(torch.tensor(never))
        self.held = end

    def best(self, logits: Tensor) -> TopIds:
        """Of logits (R, V), by the kernel."""
        return kernels.top(logits, min(self.wanted.k, self.size), self.ban)


class RecordedStep:
    """The step of `network` from `state`, recorded while it takes its first token."""

    def __init__(
        self,
        network: Seq2Seq,
        memory: Memory,
        state: DecoderState,
        ids: Tensor,
        pos: Tensor,
        *,
        capacity: int,
        candidates: KernelTopK | None,
    ) -> None:
        self.state, self.sources, self.candidates = state, memory.hidden.shape[0], candidates
        rows = self.sources * state.width
        self.ids, self.pos = ids.reshape(rows, 1).clone(), pos.clone()
        is_large = sum(leaf.nbytes for leaf in state.leaves) >= TRIM_FROM_BYTES
        if is_large:
            trim()  # of what the encoder needed
        with recording(capacity + 1, frozen=network.frozen) as notes:
            hidden, _ = network.decode(self.ids, Tokens(self.pos), memory, state)
            self._logits = network.logits(hidden[:, -1])
            self.best = None if candidates is None else candidates.best(self._logits)
        trace(state, notes.entries)
        entries, self._product = output(notes.entries) or (notes.entries, None)
        self.program = Program(
            entries,
            each=[self.ids, self.pos, *([] if candidates is None else [candidates.ban])],
            now_and_then=state.leaves,
            rows=(self.sources, rows),
            results=[self._logits if self._product is None else self._product.reads[0], *(self.best or ())],
        )
        self.heavy = self.program.calls > MAX_TORCH_CALLS
        if is_large:
            del notes, entries  # which hold all that was ever computed
            trim()

    def logits(self, rows: int) -> Tensor:
        """(rows, V), those of the last step; computed when they are asked for, where the best ids were found without
        them."""
        if self._product is not None:
            self._product.set_size("rows", rows)
            run(self._product.step)
        return self._logits[:rows]

    def run(self, ids: Tensor, position: int | Tensor, sources: int) -> None:
        """One more token of the hypotheses of the first `sources`, at one position or at that of each source (n,)."""
        self.ids[: ids.numel(), 0] = ids
        if isinstance(position, int):
            self.pos.fill_(position)
        else:
            self.pos.view(self.sources, -1)[:sources] = position[:, None]
        self.program.run(sources)

    def keep(self, staying: Tensor) -> Tensor:
        """Only the sources `staying` (n,) remain, moved to the first places; returns their order."""
        order = fill_gaps(self.state, staying)
        if not torch.equal(order, torch.arange(order.numel())):
            self.program.refresh()
        return order

    def join(self, first: int, state: DecoderState, count: int) -> None:
        """`count` sources take the places from `first` on, in the states that they begin with."""
        self.state.write(torch.arange(first, first + count), state)
        self.program.refresh()

    def is_oversized(self, sources: int) -> bool:
        """Whether half of the sources have left a program in which much is computed for all of them."""
        return self.heavy and 2 * sources <= self.sources
