"""A decoding step that is recorded once and replayed by kernels, for all sources of a batch or the first of them.

    step = RecordedStep(network, memory, state, ids, pos, capacity=64, candidates=KernelTopK(request, vocab_size))
    step.run(ids, position=3, sources=5)
    step.logits(rows), step.best

The step of a small batch is stored for the next batch of the same shape (`Runtime.take`, `Runtime.store`), so that
single sentences are decoded one after another without recording again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.models.protocol import Seq2Seq
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState
from antiphon.runtime.ancestry import use_ancestry
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.kernels.steps import run
from antiphon.runtime.pages import trim
from antiphon.runtime.recorder.fusion import output
from antiphon.runtime.recorder.program import Program
from antiphon.runtime.recorder.record import recording
from antiphon.runtime.step import ReplayedStep, TopIds, TopKRequest, fill_gaps

MAX_TORCH_CALLS = 12  # number of operations without a kernel from which a step is recorded again for half of its rows
TRIM_FROM_BYTES = (
    2**23
)  # bytes of the state from which freed memory is returned to the system, which takes milliseconds


class KernelTopK:
    """Finds the requested ids by the kernel `top`. `ban` are the sorted ids that are excluded."""

    def __init__(self, wanted: TopKRequest, size: int) -> None:
        self.wanted, self.size = wanted, size
        self.ban = torch.tensor([*sorted(wanted.never), size])  # the last one is no id

    def best(self, logits: Tensor) -> TopIds:
        """The best ids of logits (R, V), best first."""
        return kernels.top(logits, min(self.wanted.k, self.size), self.ban)


class RecordedStep(ReplayedStep):
    """The step of `network` from `state`, recorded while it runs the first token."""

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
        super().__init__(state, ids, pos)
        self.candidates = candidates
        is_large = sum(leaf.nbytes for leaf in state.leaves) >= TRIM_FROM_BYTES
        if is_large:
            trim()  # the memory that the encoder needed
        with recording(capacity + 1, frozen=network.frozen) as notes:
            hidden, _ = network.decode(self.ids, Tokens(self.pos), memory, state)
            self._logits = network.logits(hidden[:, -1])
            self.best = None if candidates is None else candidates.best(self._logits)
        use_ancestry(state, notes.entries)
        entries, self._product = output(notes.entries) or (notes.entries, None)
        self.program = Program(
            entries,
            each=[self.ids, self.pos],
            now_and_then=state.leaves,
            rows=(self.sources, ids.numel()),
            results=[self._logits if self._product is None else self._product.reads[0], *(self.best or ())],
        )
        self.heavy = self.program.calls > MAX_TORCH_CALLS
        if is_large:
            del notes, entries  # they keep all intermediate tensors alive
            trim()

    def logits(self, rows: int) -> Tensor:
        """The logits (rows, V) of the last step; computed on demand if the best ids were found without them."""
        if self._product is not None:
            self._product.set_size("rows", rows)
            run(self._product.step)
        return self._logits[:rows]

    def run(self, ids: Tensor, position: int | Tensor, sources: int) -> None:
        """Run the next token of the hypotheses of the first `sources`, at one position or one for each source (n,)."""
        self.ids[: ids.numel(), 0] = ids
        if isinstance(position, int):
            self.pos.fill_(position)
        else:
            self.pos.view(self.sources, -1)[:sources] = position[:, None]
        self.program.run(sources)

    def keep(self, staying: Tensor) -> Tensor:
        """Keep only the sources `staying` (n,), moved to the first rows. Returns their order."""
        order = fill_gaps(self.state, staying)
        if not torch.equal(order, torch.arange(order.numel())):
            self.program.refresh()
        return order

    def join(self, first: int, state: DecoderState, count: int) -> None:
        """Add `count` sources with their initial `state` at the rows from source `first` on."""
        self.state.write(torch.arange(first, first + count), state)
        self.program.refresh()
