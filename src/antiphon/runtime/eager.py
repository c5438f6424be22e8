"""A decoding step by the network's own code: the definition, for every device and every attention."""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.models.protocol import Seq2Seq
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState
from antiphon.runtime.graph import GraphTopK
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.step import TopIds, TopK


class EagerStep:
    """The step of `network` over `memory` from `state`; it also reads whole prefixes."""

    def __init__(self, network: Seq2Seq, memory: Memory, state: DecoderState, top: TopK | None) -> None:
        self.network, self.memory, self.state, self.top = network, memory, state, top
        self.best: TopIds | None = None
        self._logits: Tensor | None = None

    def read(self, ids: Tensor, tokens: Tokens) -> Tensor:
        """Run the network on `ids` (R, L). Returns their hidden vectors (R, L, D)."""
        hidden, _ = self.network.decode(ids, tokens, self.memory, self.state)
        logits = self._logits = self.network.logits(hidden[:, -1])
        fits = isinstance(self.top, GraphTopK) or kernels.usable(logits)
        self.best = self.top.best(logits) if self.top is not None and fits else None
        return hidden

    def run(self, ids: Tensor, position: int | Tensor, sources: int) -> None:
        """Run the next token `ids` (R,) of each hypothesis, at one position or one for each source (n,)."""
        if isinstance(position, int):
            pos = torch.full((1, 1), position, device=ids.device)
        else:
            pos = position.repeat_interleave(self.state.width)[:, None]
        self.read(ids[:, None], Tokens(pos))

    def logits(self, rows: int) -> Tensor:
        """The logits (rows, V) of the last run."""
        assert self._logits is not None, "a step was run"
        return self._logits

    def forget(self) -> None:
        """Drop the results of the last run, which are as large as the vocabulary."""
        self._logits = self.best = None

    def keep(self, staying: Tensor) -> Tensor:
        """Keep only the sources `staying` (n,), in that order."""
        self.memory = self.memory.select(staying)
        self.state.drop(staying)
        return staying

    def join(self, first: int, state: DecoderState, count: int) -> None:
        """Not supported: there are no unused rows."""
        raise AssertionError("sources join a recorded step only")

    def is_oversized(self, sources: int) -> bool:
        """Always False: `keep` removes the rows of other sources."""
        return False
