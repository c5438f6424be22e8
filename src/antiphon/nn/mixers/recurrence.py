"""Recurrent mixers: each row and head has a memory of fixed size, which tokens update and queries read.

The memory of head g is a matrix M, (D,V). Token t multiplies it by a decay, then adds an update; query t reads it:

    M_t = decay_t · M_{t-1} + k_t ⊗ u_t                 out_t = q_t · M_t

The update u_t (`updates`) is the value, or its difference from what is stored. A row is computed in chunks of C tokens,
each by a few matrix products (Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule over Sequence
Length, section 3). Training stores C numbers a token and one memory a chunk, so its memory is linear in length; that of
decoding is constant. The memory is float32 or wider, also under autocast.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.errors import AttentionError
from antiphon.nn.layers import type_of, zero_padding
from antiphon.nn.mixers.heads import HeadMixer, wide
from antiphon.nn.mixers.mixer import Memory, join_heads
from antiphon.nn.state import MemoryState, State


class RecurrenceInputs(NamedTuple):
    """Inputs of the updates: `k` (B,G,L,D) and `v` (B,G,L,V), zero where there is no token; `rate` (B,G,L), the
    strength of an update; `decay` (B or 1,G or 1,L), the logarithm of the decay before it, at most 0.
    """

    k: Tensor
    v: Tensor
    rate: Tensor | None
    decay: Tensor

    def only(self, tokens: Tensor) -> RecurrenceInputs:
        """The inputs of `tokens` (B or 1, L) bool; the other tokens do not change the memory, bit for bit."""
        gone = ~tokens[:, None, :]
        rate = None if self.rate is None else self.rate.masked_fill(gone, 0.0)
        k, v = (part.masked_fill(gone[..., None], 0.0) for part in (self.k, self.v))
        return RecurrenceInputs(k, v, rate, self.decay.masked_fill(gone, 0.0))

    def part(self, where: slice) -> RecurrenceInputs:
        """The inputs of the tokens `where`."""
        rate = None if self.rate is None else self.rate[..., where]
        return RecurrenceInputs(self.k[:, :, where], self.v[:, :, where], rate, self.decay[..., where])

    def flip(self) -> RecurrenceInputs:
        """The inputs in reverse order."""
        rate = None if self.rate is None else self.rate.flip(-1)
        return RecurrenceInputs(self.k.flip(2), self.v.flip(2), rate, self.decay.flip(-1))


class Recurrence(HeadMixer):
    """Base class of recurrent mixers. Define `writes`, and override `queries`, `updates`, `normalize_output`, `encode`
    and `summary` as needed.

    The memory of a decoder is its state; it is reset at the first token of a segment (position 0). In cross-attention
    the memory is computed once from the encoder's output, and every query reads it, or several of them (`ways`). There
    are no attention weights, so none are recorded and there is no attention dropout. Rotary positions and
    `attention_scale`, which belong to dot products under a softmax, are not applied.
    """

    chunk_tokens: ClassVar[int] = 64

    @property
    def value_dim(self) -> int:
        """V, the width of an update."""
        return self.head_dim

    def queries(self, x: Tensor) -> Tensor:
        """The queries (B,H,L,D) of x (B,L,d_model), in the type of the memory."""
        return wide(self.heads(x, self.q)[0])

    def writes(self, x: Tensor) -> RecurrenceInputs:
        """The inputs of the updates by x (B,L,d_model), in the type of the memory."""
        raise NotImplementedError

    def updates(self, writes: RecurrenceInputs, lasting: Tensor, entering: Tensor, memory: Tensor) -> Tensor:
        """The updates u (B,G,C,V) of a chunk. `lasting` (…,C,C): the decay from token j to token i; `entering` (…,C,1):
        the decay from `memory` (B,G,D,V), before the chunk, to token i."""
        return writes.v

    def normalize_output(self, out: Tensor) -> Tensor:
        """Normalize the results (B,H,L,ways·V) of the queries to heads (B,H,L,·), the input of the projection `o`."""
        return out

    def scan(self, q: Tensor, writes: RecurrenceInputs, starts: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The results (B,H,L,V) of queries (B,H,L,D), each after its token, and the memory (B,G,D,V) after the last.

        `starts` (B or 1, L) bool: the tokens before which the memory is reset.
        """
        groups, outs = memory.shape[1], []
        for first in range(0, q.shape[2], self.chunk_tokens):
            where = slice(first, first + self.chunk_tokens)
            part = writes.part(where)
            asked = q[:, :, where].unflatten(1, (groups, q.shape[1] // groups))  # (B, H, C, D) -> (B, G, H/G, C, D)
            lasting, entering = decays(part.decay, starts[:, where])
            u = self.updates(part, lasting, entering, memory)
            scores = (asked @ part.k.mT[:, :, None]) * lasting[:, :, None]
            outs.append(scores @ u[:, :, None] + asked @ memory[:, :, None] * entering[:, :, None])
            memory = entering[:, :, -1:] * memory + (part.k * lasting[:, :, -1, :, None]).mT @ u
        return torch.cat(outs, dim=3).flatten(1, 2), memory

    def summary(self, writes: RecurrenceInputs) -> Tensor:
        """The memory (B,ways,G,D,V) after all updates; by default their sum, for a memory without decay."""
        return (writes.k.mT @ writes.v)[:, None]

    def encode(self, q: Tensor, writes: RecurrenceInputs, tokens: Tokens) -> Tensor:
        """The results (B,H,L,ways·V) of an encoder's queries; by default each reads the summary of its segment."""
        return recall(q, tokens.segment, [self.summary(writes.only(mine)) for mine in segments(tokens)])

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        if memory is None:
            return State(hypothesis={"memory": self.empty(rows)})
        writes = self.writes(zero_padding(memory.hidden, memory.tokens.valid))
        with _exact(memory.hidden):
            parts = [self.summary(writes.only(mine)) for mine in segments(memory.tokens)]
        return MemoryState(memory.tokens, memory=torch.stack(parts, dim=1))

    def empty(self, rows: int) -> Tensor:
        """The memory (rows,G,D,V) before the first token."""
        weight = type_of(self.q)
        shape = (rows, self.groups, self.head_dim, self.value_dim)
        return torch.zeros(shape, dtype=wide(weight).dtype, device=weight.device)

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        x = zero_padding(x, tokens.valid)
        q = self.queries(x)
        if isinstance(state, MemoryState):
            packed = tokens.segment if state.tokens.segment is not None else None
            with _exact(x):
                out = recall(q, packed, list(state.source["memory"].unbind(1)))
        else:
            writes = self.writes(x)
            with _exact(x):
                whole = self.role != "decoder"
                out = self.encode(q, writes, tokens) if whole else self._decode(q, writes, tokens, state)
        return self.o(join_heads(self.normalize_output(out)).to(x.dtype)), state

    def _decode(self, q: Tensor, writes: RecurrenceInputs, tokens: Tokens, state: State | None) -> Tensor:
        if tokens.prefix is not None:
            raise AttentionError(
                f"a prefix that is read in both directions needs attention weights, but `{type(self).__name__}` of the "
                "decoder reads from left to right. Take another attention there."
            )
        memory = self.empty(q.shape[0]) if state is None else state.hypothesis["memory"]
        out, after = self.scan(q, writes.only(tokens.valid), tokens.pos == 0, memory)
        if state is not None:
            memory.copy_(after)
        return out


def decays(decay: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """The decays within a chunk of C tokens: from token j to token i, (…,C,C), zero for later j; and from the start of
    the chunk to token i, (…,C,1). `decay` (B or 1,G or 1,C) are logarithms, `starts` is (B or 1,C).
    """
    total, segment = decay.cumsum(-1)[..., None], starts.long().cumsum(-1)[:, None, :, None]
    earlier = torch.ones(total.shape[-2], total.shape[-2], dtype=torch.bool, device=total.device).tril()
    lasts = earlier & (segment == segment.mT)
    # Masked before the exponential, which would overflow for later tokens and make their gradients NaN.
    lasting = (total - total.mT).masked_fill(~lasts, float("-inf")).exp()
    return lasting, total.masked_fill(segment > 0, float("-inf")).exp()


def segments(tokens: Tokens) -> list[Tensor]:
    """The tokens of each segment, (B or 1, L) bool; without packing, one mask of all tokens but padding."""
    if tokens.segment is None:
        return [tokens.valid]
    return [tokens.segment == number for number in range(1, int(tokens.segment.max()) + 1)]


def recall(q: Tensor, segment: Tensor | None, memories: list[Tensor]) -> Tensor:
    """The results (B,H,L,ways·V) of queries (B,H,L,D) in the memory (B,ways,G,D,V) of their `segment` (B or 1, L)."""
    assert segment is not None or len(memories) == 1, "queries of a packed memory must be packed in the same way"
    out = None
    for number, memory in enumerate(memories, start=1):
        asked = q[:, None].unflatten(2, (memory.shape[2], -1))  # (B, H, L, D) -> (B, 1, G, H/G, L, D)
        read = (asked @ memory[:, :, :, None]).flatten(2, 3)  # (B, ways, H, L, V)
        if segment is not None:
            read = read.masked_fill((segment != number)[:, None, None, :, None], 0.0)
        out = read if out is None else out + read
    assert out is not None
    return torch.cat(out.unbind(1), dim=-1)


def flipped(starts: Tensor) -> Tensor:
    """The first tokens of segments (B or 1, L) in the reversed row, from those in the original order."""
    return functional.pad(starts.flip(-1), (1, -1))


def _exact(x: Tensor) -> torch.autocast:
    """Disable autocast: sums over a whole row must not be rounded to 16 bits."""
    return torch.autocast(x.device.type, enabled=False)
