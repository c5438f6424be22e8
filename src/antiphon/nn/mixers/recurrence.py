"""Recurrent mixers: a memory of fixed size for each row and head, which tokens write to and queries read.

The memory of head g is a matrix M, (D,V). Token t first lets it fade by a factor, then writes; query t reads it:

    M_t = decay_t · M_{t-1} + k_t ⊗ u_t                 out_t = q_t · M_t

u_t is what is written (`written`): the value itself, or what is new in it. A row is computed by chunks, of which each
is a few products of matrices (Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule over Sequence
Length, section 3): training keeps C numbers a token and one memory a chunk of C tokens, so its memory is linear in
length, and decoding's is constant. Memory is float32 at least, under autocast too.
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
    """What tokens write: `k` (B,G,L,D) and `v` (B,G,L,V), zero where nothing is; `rate` (B,G,L), its strength;
    `decay` (B or 1,G or 1,L), the logarithm of the factor by which the memory fades first, at most 0.
    """

    k: Tensor
    v: Tensor
    rate: Tensor | None
    decay: Tensor

    def only(self, tokens: Tensor) -> RecurrenceInputs:
        """Only those of `tokens` (B or 1, L) bool; the others leave the memory as it is, bit by bit."""
        gone = ~tokens[:, None, :]
        rate = None if self.rate is None else self.rate.masked_fill(gone, 0.0)
        k, v = (part.masked_fill(gone[..., None], 0.0) for part in (self.k, self.v))
        return RecurrenceInputs(k, v, rate, self.decay.masked_fill(gone, 0.0))

    def part(self, where: slice) -> RecurrenceInputs:
        """Those of the tokens `where`."""
        rate = None if self.rate is None else self.rate[..., where]
        return RecurrenceInputs(self.k[:, :, where], self.v[:, :, where], rate, self.decay[..., where])

    def flip(self) -> RecurrenceInputs:
        """From right to left."""
        rate = None if self.rate is None else self.rate.flip(-1)
        return RecurrenceInputs(self.k.flip(2), self.v.flip(2), rate, self.decay.flip(-1))


class Recurrence(HeadMixer):
    """A mixer with a memory: it says `writes`, and what it needs of `queries`, `written`, `mend`, `encode`, `summary`.

    A decoder's memory is its state; a segment's first token, the one at position 0, empties it. In a cross role the
    encoder's output is written once a source, and every query reads the result, one memory or several (`ways`). There
    are no weights, so none are recorded and attention dropout has none to act on; rotary positions and
    `attention_scale`, which are those of products under a softmax, are not applied.
    """

    chunk_tokens: ClassVar[int] = 64

    @property
    def value_dim(self) -> int:
        """V, the width of what is written."""
        return self.head_dim

    def queries(self, x: Tensor) -> Tensor:
        """What reads, (B,H,L,D), of x (B,L,d_model), in the type of the memory."""
        return wide(self.heads(x, self.q)[0])

    def writes(self, x: Tensor) -> RecurrenceInputs:
        """What x (B,L,d_model) writes, in the type of the memory."""
        raise NotImplementedError

    def written(self, writes: RecurrenceInputs, lasting: Tensor, entering: Tensor, memory: Tensor) -> Tensor:
        """u (B,G,C,V) of a chunk: how much `lasting` (…,C,C) leaves of token j at i, and `entering` (…,C,1) of `memory`
        (B,G,D,V) at i."""
        return writes.v

    def mend(self, out: Tensor) -> Tensor:
        """What was read, (B,H,L,ways·V), as heads (B,H,L,·) for the projection `o`."""
        return out

    def scan(self, q: Tensor, writes: RecurrenceInputs, starts: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What queries (B,H,L,D) read after each token, (B,H,L,V), and the memory (B,G,D,V) after the last.

        `starts` (B or 1, L) bool: the tokens before which the memory is emptied.
        """
        groups, outs = memory.shape[1], []
        for first in range(0, q.shape[2], self.chunk_tokens):
            where = slice(first, first + self.chunk_tokens)
            part = writes.part(where)
            asked = q[:, :, where].unflatten(1, (groups, q.shape[1] // groups))  # (B, H, C, D) -> (B, G, H/G, C, D)
            lasting, entering = decays(part.decay, starts[:, where])
            u = self.written(part, lasting, entering, memory)
            scores = (asked @ part.k.mT[:, :, None]) * lasting[:, :, None]
            outs.append(scores @ u[:, :, None] + asked @ memory[:, :, None] * entering[:, :, None])
            memory = entering[:, :, -1:] * memory + (part.k * lasting[:, :, -1, :, None]).mT @ u
        return torch.cat(outs, dim=3).flatten(1, 2), memory

    def summary(self, writes: RecurrenceInputs) -> Tensor:
        """The memory (B,ways,G,D,V) after all that is written; by default a sum, for what never fades."""
        return (writes.k.mT @ writes.v)[:, None]

    def encode(self, q: Tensor, writes: RecurrenceInputs, tokens: Tokens) -> Tensor:
        """What an encoder's queries read, (B,H,L,ways·V); by default all reads the summary of its segment."""
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
        return self.o(join_heads(self.mend(out)).to(x.dtype)), state

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
    """What a chunk of C tokens leaves of what was written: at token i of what token j wrote, (…,C,C), zero for a later
    j; and at i of what the chunk found, (…,C,1). From logarithms `decay` (B or 1,G or 1,C) and `starts` (B or 1,C).
    """
    total, segment = decay.cumsum(-1)[..., None], starts.long().cumsum(-1)[:, None, :, None]
    earlier = torch.ones(total.shape[-2], total.shape[-2], dtype=torch.bool, device=total.device).tril()
    lasts = earlier & (segment == segment.mT)
    # Masked before the exponential, which would overflow for later tokens and make their gradients NaN.
    lasting = (total - total.mT).masked_fill(~lasts, float("-inf")).exp()
    return lasting, total.masked_fill(segment > 0, float("-inf")).exp()


def segments(tokens: Tokens) -> list[Tensor]:
    """For each segment its tokens, (B or 1, L) bool; all real ones where nothing is packed."""
    if tokens.segment is None:
        return [tokens.valid]
    return [tokens.segment == number for number in range(1, int(tokens.segment.max()) + 1)]


def recall(q: Tensor, segment: Tensor | None, memories: list[Tensor]) -> Tensor:
    """What queries (B,H,L,D) read in the memory (B,ways,G,D,V) of their `segment` (B or 1, L), (B,H,L,ways·V)."""
    assert segment is not None or len(memories) == 1, "queries of a packed memory must be packed alike"
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
    """The tokens that begin a segment (B or 1, L) when the row is flipped: each follows one that began it before."""
    return functional.pad(starts.flip(-1), (1, -1))


def _exact(x: Tensor) -> torch.autocast:
    """No autocast: what is summed over a whole row must not be rounded to a short type."""
    return torch.autocast(x.device.type, enabled=False)
