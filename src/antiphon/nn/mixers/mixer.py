"""Mixers: layers that combine tokens, such as dot-product attention under a score rule, or attention with other logits.

A mixer of your own subclasses `Mixer`. One `forward` computes training (without state), prefill and single decoding
steps. Its state consists of named tensors (`State`), which every search reorders and drops without further code.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.nn.noise import Noise
from antiphon.nn.part import Part
from antiphon.nn.positions import ROTARY_BASE
from antiphon.nn.state import State


class Memory:
    """The encoder's output: `hidden` (N, S, D), zero at padding, and its `tokens`."""

    def __init__(self, hidden: Tensor, tokens: Tokens) -> None:
        self.hidden, self.tokens = hidden, tokens

    def select(self, rows: Tensor) -> Memory:
        """The memory of sources `rows` (n,), in that order."""
        return Memory(self.hidden.index_select(0, rows), self.tokens.select(rows))

    def padded(self, length: int) -> Memory:
        """The memory padded with zeros on the right to `length` positions."""
        more = length - self.hidden.shape[1]
        assert more >= 0 and self.tokens.segment is None and self.tokens.prefix is None
        pos = functional.pad(self.tokens.pos, (0, more), value=-1)
        return Memory(functional.pad(self.hidden, (0, 0, 0, more)), Tokens(pos))

    def with_rows_of(self, others: Sequence[Memory]) -> Memory:
        """The rows of this memory and of `others` behind them, padded to the longest."""
        length = max(each.hidden.shape[1] for each in (self, *others))
        each = [part.padded(length).with_own_positions() for part in (self, *others)]
        hidden, pos = (torch.cat(parts) for parts in zip(*((m.hidden, m.tokens.pos) for m in each), strict=True))
        return Memory(hidden, Tokens(pos))

    def with_own_positions(self) -> Memory:
        """The same memory, whose positions have one row for each source."""
        tokens = self.tokens
        if tokens.pos.shape[0] == self.hidden.shape[0]:
            return self
        pos = tokens.pos.expand(self.hidden.shape[0], -1).contiguous()
        return Memory(self.hidden, Tokens(pos, tokens.segment, tokens.prefix))


class Mixer(Part):
    """Base class.

    `role` is `encoder`, `decoder` (causal) or `cross` (queries over a memory, each independent of the others).
    `packs`: whether the segments of a packed row do not attend to each other. Settings of the model: `num_kv_heads`
    (None: as many as heads), `attention_scale` (None: the mixer's own), `rotary_positions` with `rotary_base` (see
    `Rotary`), the `dropout` of `setup`, and `memory_width`, the width of the memory that a `cross` mixer reads (None:
    `d_model`). `takes` lists those that the mixer supports: `num_kv_heads`, `attention_scale`, `attention_dropout`,
    `rotary`, `memory_width`. `num_kv_heads` and `memory_width` are errors for a mixer without support; for the other
    settings there is a warning.
    """

    packs: ClassVar[bool] = True
    takes: ClassVar[Collection[str]] = ()
    num_kv_heads: int | None = None
    attention_scale: float | None = None
    rotary_positions: bool = False
    rotary_base: float = ROTARY_BASE
    memory_width: int | None = None

    @property
    def called(self) -> str:
        """The name of the mixer in messages and tables."""
        return f"the mixer `{type(self).__name__}`"

    def of_any_size(self) -> Mixer:
        """This mixer; if it wraps a module of a fixed size, a mixer of the same kind that fits any network."""
        return self

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        """Create the parameters."""
        raise NotImplementedError

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        """The state of `rows` hypotheses before the first token, with space for `capacity` tokens.

        For `cross`, computes once what depends on `memory` only.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        """x (B, L, d_model) -> (B, L, d_model), and the new state. Without a state, x is a whole sequence."""
        raise NotImplementedError

    def recorder(self, tokens: Tokens, state: State | None) -> list[Tensor] | None:
        """The list to which a mixer appends its attention weights (B, H, Q, K) of this forward; None: do not record."""
        if tokens.maps is not None:
            return tokens.maps.setdefault(self, [])
        return None if state is None else state.record


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """(B, L, H·D) -> (B, H, L, D)"""
    return x.view(x.shape[0], x.shape[1], -1, head_dim).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, L, D) -> (B, L, H·D)"""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)
