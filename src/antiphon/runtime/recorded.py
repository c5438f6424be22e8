"""A step of decoding that was written down once and is run again: for the first few sources of a batch, or for all.

    made = RecordedStep(network, memory, state, width=4, capacity=64, wanted=TopKRequest(8, (0, 1), 2))
    made.run(ids, place=3, sources=5)
    made.logits(rows), made.best

Small batches leave theirs for the next batch of the same shape (`take`, `leave`), so that one sentence after the other
is answered without writing anything down again.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState
from antiphon.runtime.ancestry import trace
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.kernels.steps import run
from antiphon.runtime.pages import trim
from antiphon.runtime.recorder.fusion import output
from antiphon.runtime.recorder.program import Program
from antiphon.runtime.recorder.record import recording

Best = tuple[Tensor, Tensor]  # log-probabilities and ids, (R, k) each

CALLS = 12  # operations without a kernel from which a program for all rows is too much for half of them
LARGE = 2**23  # bytes of a batch's states from which memory that was freed is given back, which takes milliseconds
MOST_LEFT = 4  # programs that a network keeps


class TopKRequest(NamedTuple):
    """The `most` most probable ids but for `never`, and for `end` while that is held back."""

    most: int
    never: tuple[int, ...]
    end: int


class KernelTopK:
    """Finds what is wanted in logits; `ban` is told what is not to be found."""

    def __init__(self, wanted: TopKRequest, size: int) -> None:
        self.wanted, self.size = wanted, size
        self.ban = torch.empty(len(wanted.never) + 1, dtype=torch.long)
        self.hold(False)

    def hold(self, end: bool) -> None:
        """Whether the end is held back."""
        never = sorted({*self.wanted.never, *([self.wanted.end] if end else [])})
        never += [self.size] * (self.ban.numel() - len(never))  # which no id is
        self.ban.copy_(torch.tensor(never))
        self.held = end

    def best(self, logits: Tensor) -> Best:
        """Of logits (R, V), by the kernel."""
        return kernels.top(logits, min(self.wanted.most, self.size), self.ban)


class RecordedStep:
    """The step of `network` from `state`, written down while it takes its first token."""

    def __init__(
        self,
        network: EncoderDecoder,
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
        is_large = sum(leaf.nbytes for leaf in state.leaves) >= LARGE
        if is_large:
            trim()  # of what the encoder needed
        with recording(capacity + 1, settled=network.settled) as notes:
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
        self.heavy = self.program.calls > CALLS
        if is_large:
            del notes, entries  # which hold all that was ever computed
            trim()

    def logits(self, rows: int) -> Tensor:
        """(rows, V), those of the last step; computed when they are asked for, where the best ids were found without
        them."""
        if self._product is not None:
            self._product.step.n[0] = rows
            run(self._product.step)
        return self._logits[:rows]

    def run(self, ids: Tensor, place: int | Tensor, sources: int) -> None:
        """One more token of the hypotheses of the first `sources`, at one position or at that of each source (n,)."""
        self.ids[: ids.numel(), 0] = ids
        if isinstance(place, int):
            self.pos.fill_(place)
        else:
            self.pos.view(self.sources, -1)[:sources] = place[:, None]
        self.program.run(sources)


_left: weakref.WeakKeyDictionary[EncoderDecoder, dict[object, RecordedStep]] = weakref.WeakKeyDictionary()


def take(network: EncoderDecoder, shape: object) -> RecordedStep | None:
    """What a batch of this shape left, which is then gone; None where the weights have changed since."""
    version = _version(network)
    return None if version is None else _left.get(network, {}).pop((shape, version), None)


def leave(network: EncoderDecoder, shape: object, written: RecordedStep) -> None:
    """Keep what was written down for the next batch of this shape."""
    version, left = _version(network), _left.setdefault(network, {})
    if version is None:
        return
    while len(left) >= MOST_LEFT:
        left.pop(next(iter(left)), None)
    left[shape, version] = written


def _version(network: EncoderDecoder) -> int | None:
    """Changes whenever a weight does, or a module is exchanged; None where weights may be trained, whose changes are
    not always told. For those that are settled, and trained nevertheless, a number of each is looked at."""
    found: list[int] = []
    left: list[nn.Module] = [network]
    while left:  # `network.parameters()` takes ten times as long
        module = left.pop()
        found.append(id(module))
        left += [part for part in module._modules.values() if part is not None]
        for weight in module._parameters.values():
            if weight is not None and weight.requires_grad:
                if not network.settled:
                    return None
                found.append(hash(weight.detach().flatten()[weight.numel() // 2].item()))
            if weight is not None:
                found += [weight.data_ptr(), 0 if weight.is_inference() else weight._version]
    return hash(tuple(found))
