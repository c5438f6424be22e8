"""The interface of networks for search and runtime: any object with these methods can be searched.

`EncoderDecoder`, an ensemble of several, and a network without a cache (`conformance`) are examples; none of them is a
subclass of another. Shapes: N sources, W hypotheses of each, S source and L target positions, D features, V ids.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState


class Seq2Seq(Protocol):
    """A network that maps source ids to the logits of target ids, with its decoding state outside of it."""

    training: bool
    frozen: bool
    """Whether the weights are not trained, so that packed copies of them may be kept."""

    @property
    def vocab_size(self) -> int:
        """V, the number of ids that `logits` scores."""
        ...

    @property
    def max_length(self) -> int:
        """The largest number of positions of a source that is encoded at once, and of a target."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where inputs must be."""
        ...

    def encode(self, source: Tensor, tokens: Tokens, *, window: int | None = None) -> Memory:
        """Source ids (N, S), or features (N, S, F), to the memory that the decoder attends to.

        Sources of more than `window` ids (None: the network's own choice) are encoded in windows.
        """
        ...

    def begin(self, memory: Memory, *, width: int, capacity: int) -> DecoderState:
        """The decoding state of `width` hypotheses of each source, with space for `capacity` tokens."""
        ...

    def decode(
        self, target_ids: Tensor, tokens: Tokens, memory: Memory, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState | None]:
        """Target ids (N·W, L), which follow those that `state` has seen, to hidden vectors (N·W, L, D).

        Without a state the ids are whole targets, one for each source.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden vectors (..., D) to logits (..., V)."""
        ...

    def eval(self) -> Any:
        """Switch dropout off, as `torch.nn.Module.eval`."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off, as `torch.nn.Module.train`."""
        ...
