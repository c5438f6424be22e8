"""Mixers: anything that mixes tokens. Dot-product attention under a score rule is one; what has other logits, or none,
is another.

A mixer of one's own subclasses `Mixer`; its `forward` serves training (no state), prefill and single steps alike, and
its state is named leaves (`State`), so every search reorders and drops them without further code.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

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
        """The same with padding (zeros) behind it, up to `length` places."""
        more = length - self.hidden.shape[1]
        assert more >= 0 and self.tokens.segment is None and self.tokens.prefix is None
        pos = functional.pad(self.tokens.pos, (0, more), value=-1)
        return Memory(functional.pad(self.hidden, (0, 0, 0, more)), Tokens(pos))


class Mixer(Part):
    """Base class.

    `role` is `encoder`, `decoder` (causal) or `cross` (queries over a memory, each independent of the others).
    `packs` says whether it keeps the segments of a packed row apart. `num_kv_heads` (None: as many as heads),
    `attention_scale` (None: the mixer's own) and `rotary_positions` are the model's settings, and so is the `dropout`
    of `setup`; `rotary_base` is that of `Rotary`, and `memory_width` the features of a memory that a cross role reads
    (None: `d_model`). `takes` names those that it applies, of `num_kv_heads`, `attention_scale`, `attention_dropout`,
    `rotary` and `memory_width`: the builder refuses `num_kv_heads` and `memory_width` for a mixer that does not take
    them, and says what else does nothing.
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
        """How messages and tables call it."""
        return f"the mixer `{type(self).__name__}`"

    def of_any_size(self) -> Mixer:
        """It, or one of its kind that fits a network of any size, where it was made of a module of one size."""
        return self

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        """Make the parameters."""
        raise NotImplementedError

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        """The state of `rows` hypotheses before the first token, with room for `capacity`.

        In a cross role, what is done once for `memory`.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        """x (B, L, d_model) mixed, same shape, and the state after it. Without a state, x is the whole sequence."""
        raise NotImplementedError

    def recorder(self, tokens: Tokens, state: State | None) -> list[Tensor] | None:
        """Where a mixer that has attention weights appends those of this forward, (B, H, Q, K); None: nobody looks."""
        if tokens.maps is not None:
            return tokens.maps.setdefault(self, [])
        return None if state is None else state.record


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """(B, L, H·D) -> (B, H, L, D)"""
    return x.view(x.shape[0], x.shape[1], -1, head_dim).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, L, D) -> (B, L, H·D)"""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)
