"""Decoding state, outside the model: tensors of fixed capacity that belong to source rows or to hypothesis rows.

The hypotheses of a source are contiguous, and their number W is given. `reorder`, `drop` and `write` are generic: beam
search, streaming and continuous batching need no more, and a mixer of one's own gets them by naming its leaves. A
key-value cache returns the keys' tokens with the keys, so nobody asks "am I decoding?".

Shapes: N sources, R = N·W hypotheses, C capacity.
"""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.pages import zeros


class State:
    """Leaves by name, each with rows first: `source` leaves have N rows, `hypothesis` leaves R rows (or 1, where all
    rows agree).

    `common` is a state that layers share, each with an equal `kind`: the places of a cache, the tokens of a memory.
    Where `record` is a list, a mixer with attention weights appends those of each forward, (B, H, Q, K), to it
    (`Mixer.recorder`).
    """

    kind: object = None
    record: list[Tensor] | None = None

    def __init__(
        self,
        *,
        source: dict[str, Tensor] | None = None,
        hypothesis: dict[str, Tensor] | None = None,
        common: State | None = None,
    ) -> None:
        self.source = source or {}
        self.hypothesis = hypothesis or {}
        self.common = common

    def used(self, name: str, leaf: Tensor) -> Tensor:
        """The part of a leaf that holds anything; what is outside it is zeros."""
        return leaf

    def reorder(self, index: Tensor, width: int | None = None) -> None:
        """Hypothesis row i becomes what row `index[i]` was, one of the same `width` rows (None: any row), in place.

        `index` (r,) may be of fewer rows than there are: then the first ones are in use.
        """
        for name, leaf in self.hypothesis.items():
            if leaf.shape[0] > 1:
                _exchange(self.used(name, leaf)[: index.numel()], index, width=width or index.numel())

    def move(self, sources: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]) -> None:
        """Sources `sources[0]` (m,), with their hypotheses `rows[0]` (m·W,), become what the others of the pairs are,
        in place; no row is in both."""
        for leaf in self.source.values():
            if leaf.shape[0] > 1:
                leaf.index_copy_(0, sources[0], leaf.index_select(0, sources[1]))
        for name, leaf in self.hypothesis.items():
            if leaf.shape[0] > 1:
                used = self.used(name, leaf)
                used.index_copy_(0, rows[0], used.index_select(0, rows[1]))

    def drop(self, keep: Tensor, width: int) -> None:
        """Keep the sources `keep` (n,) with their `width` hypotheses, in that order."""
        rows = (keep[:, None] * width + torch.arange(width, device=keep.device)).flatten()
        self.source = {
            name: leaf.index_select(0, keep) if leaf.shape[0] > 1 else leaf for name, leaf in self.source.items()
        }
        self.hypothesis = {
            name: leaf.index_select(0, rows) if leaf.shape[0] > 1 else leaf for name, leaf in self.hypothesis.items()
        }

    def write(self, slots: Tensor, other: State, width: int) -> None:
        """Sources `slots` (n,), with their hypotheses, become those of `other`, in place.

        Both have own rows; a cache of `other` may be smaller.
        """
        rows = (slots[:, None] * width + torch.arange(width, device=slots.device)).flatten()
        for name, leaf in self.source.items():
            leaf[slots] = other.source[name]
        for name, leaf in self.hypothesis.items():
            leaf[rows] = other.hypothesis[name]

    def part(self, sources: slice, rows: slice) -> Self:
        """Some sources with their hypotheses, where each has rows of its own; in the same memory."""
        found = copy.copy(self)
        found.source = {name: leaf[sources] for name, leaf in self.source.items()}
        found.hypothesis = {name: leaf[rows] for name, leaf in self.hypothesis.items()}
        return found

    def spread(self, rows: int) -> None:
        """Where one row stood for all, each of `rows` hypotheses has its own from now on."""

    def become(self, other: State) -> None:
        """All leaves become those of `other`, a state of the same shape, in place."""
        for name, leaf in self.source.items():
            leaf.copy_(other.source[name])
        for name, leaf in self.hypothesis.items():
            self.used(name, leaf).copy_(self.used(name, other.hypothesis[name]))


def _exchange(part: Tensor, index: Tensor, *, width: int) -> None:
    """Row r of `part` becomes what row index[r] was, one of the same `width` rows, in place; the others are not
    touched."""
    if part.dtype == torch.float16 and part.shape[-1] % 2 == 0 and part.dim() == 4:
        part = part.view(torch.float32)  # moved as they are, two at a time
    if kernels.usable(part) and part.dim() == 4 and part.shape[2] > 0 and part[0, 0].is_contiguous():
        kernels.reorder(part, index, width=width)
        return
    moved = (index != torch.arange(index.numel(), device=index.device)).nonzero()[:, 0]
    part[moved] = part[index[moved]]


class SlotTable(State):
    """Which position stands in which slot of a cache: `k_pos` (R or 1, C), -1 where free; `count` (R or 1,) slots in
    use.

    The layers of a stack share one. With `aligned` all rows hold the same positions, and one row stands for them.
    """

    def __init__(self, rows: int, capacity: int, *, aligned: bool, device: torch.device) -> None:
        rows = 1 if aligned else rows
        pos = torch.full((rows, capacity + 1), -1, dtype=torch.long, device=device)
        super().__init__(hypothesis={"k_pos": pos, "count": torch.zeros(rows, dtype=torch.long, device=device)})
        self.aligned, self.capacity, self._width = aligned, capacity, 1
        self.kind = (SlotTable, capacity, aligned)

    def spread(self, rows: int) -> None:
        spread_rows(self, rows)
        self.aligned, self.kind = False, (SlotTable, self.capacity, False)

    @property
    def lanes(self) -> Tensor | None:
        """(R, C + 1): which hypothesis of its source holds each place of a row's past (ancestry.py); None: itself."""
        return self.hypothesis.get("lanes")

    def trace(self, rows: int, width: int) -> Tensor:
        """From now on there are lanes, and a reordering exchanges them instead of keys and values."""
        self._width = width
        lanes = self.hypothesis["lanes"] = _own_lanes(rows, width).expand(-1, self.capacity + 1).contiguous()
        return lanes

    def forget_lanes(self) -> Tensor | None:
        """There are none from now on; those that there were."""
        return self.hypothesis.pop("lanes", None)

    def write(self, slots: Tensor, other: State, width: int) -> None:
        rows = (slots[:, None] * width + torch.arange(width, device=slots.device)).flatten()
        assert isinstance(other, SlotTable) and other.capacity <= self.capacity
        pos, new = self.hypothesis["k_pos"], other.hypothesis["k_pos"]
        pos[rows] = -1
        pos[rows, : other.capacity] = new[:, : other.capacity]
        self.hypothesis["count"][rows] = other.hypothesis["count"]
        if self.lanes is not None:
            self.lanes[rows] = _own_lanes(rows.numel(), width)

    def become(self, other: State) -> None:
        lanes = self.forget_lanes()
        super().become(other)
        if lanes is not None:  # a state that was just begun has none
            self.hypothesis["lanes"] = lanes.copy_(_own_lanes(lanes.shape[0], self._width))

    def place(self, tokens: Tokens) -> tuple[Tensor, Tokens, int]:
        """Slots (R or 1, L) for new tokens, the keys' tokens after them, and how many slots a reader must look at.

        Computed once a forward.
        """
        found = tokens.memo.get(id(self))
        if found is None:
            found = self._place(tokens)
            tokens.memo[id(self)] = found
        return found  # type: ignore[return-value]

    def _place(self, tokens: Tokens) -> tuple[Tensor, Tokens, int]:
        pos, count = self.hypothesis["k_pos"], self.hypothesis["count"]
        assert not self.aligned or tokens.pos.shape[0] == 1, (
            "an aligned cache takes tokens with one shared row of positions"
        )
        if kernels.capturing() and kernels.usable():
            # All slots are read, since how many are taken is not looked at; the mask hides the others.
            slots = kernels.place(pos, count, tokens.pos)
            return slots, Tokens(pos[:, : self.capacity]), self.capacity
        new = tokens.pos.expand(pos.shape[0], -1)
        valid = new >= 0
        # Padding goes to the last slot, which no reader sees.
        slots = torch.where(valid, count[:, None] + valid.cumsum(1) - 1, self.capacity)
        pos.scatter_(1, slots, torch.where(valid, new, -1))
        count += valid.sum(1)
        # Looking at a counter is free on a CPU and stalls a GPU's queue; there all slots are read, and the mask hides
        # the rest.
        looks = pos.device.type == "cpu" and not kernels.capturing()
        reach = int(count.max()) if looks else self.capacity
        assert reach <= self.capacity, f"a cache of {self.capacity} slots was given {reach} tokens"
        return slots, Tokens(pos[:, :reach].clone()), reach


def _own_lanes(rows: int, width: int) -> Tensor:
    """(R, 1): each row's own place among the hypotheses of its source."""
    return torch.arange(rows, dtype=torch.int32).remainder(width)[:, None]


def spread_rows(state: State, rows: int) -> None:
    """Leaves of one row become leaves of `rows` equal ones."""
    for name, leaf in state.hypothesis.items():
        if leaf.shape[0] == 1 and rows > 1:
            state.hypothesis[name] = leaf.expand(rows, *leaf.shape[1:]).clone()


class KeyValueCache(State):
    """Keys and values (R, G, C, D) of one layer, filled slot by slot.

    `update` returns what is visible so far with its tokens.
    """

    def __init__(
        self, rows: int, capacity: int, *, num_heads: int, head_dim: int, like: Tensor, aligned: bool = True
    ) -> None:
        shape = (rows, num_heads, capacity + 1, head_dim)
        super().__init__(
            hypothesis={name: zeros(shape, like=like) for name in ("k", "v")},
            common=SlotTable(rows, capacity, aligned=aligned, device=like.device),
        )
        self._reach = 0 if like.device.type == "cpu" else capacity

    def filled(self, count: int) -> None:
        """Says that no row holds more than `count` tokens, where steps were run that this object saw nothing of."""
        self._reach = min(count, self.hypothesis["k"].shape[2] - 1)

    def used(self, name: str, leaf: Tensor) -> Tensor:
        return leaf[:, :, : self._reach]

    def reorder(self, index: Tensor, width: int | None = None) -> None:
        if not (isinstance(self.common, SlotTable) and self.common.lanes is not None):
            super().reorder(index, width)

    def write(self, slots: Tensor, other: State, width: int) -> None:
        assert isinstance(other, KeyValueCache)
        self._reach = max(self._reach, other._reach)
        rows = (slots[:, None] * width + torch.arange(width, device=slots.device)).flatten()
        for name, leaf in self.hypothesis.items():
            new = other.used(name, other.hypothesis[name])
            self.used(name, leaf)[rows] = 0.0  # what is hidden is multiplied by zero, which NaN would outlast
            if new.shape[2]:
                leaf[rows, :, : new.shape[2]] = new

    def become(self, other: State) -> None:
        assert isinstance(other, KeyValueCache)
        self._reach = max(self._reach, other._reach)  # what neither has used is zeros in both
        super().become(other)
        self._reach = other._reach

    def update(self, k: Tensor, v: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tokens]:
        """Put k and v (R, G, L, D) of `tokens` in their slots.

        Returns the keys, the values and their tokens so far, new ones included.
        """
        ledger = self.common
        assert isinstance(ledger, SlotTable)
        slots, keys, self._reach = ledger.place(tokens)
        for name, new in (("k", k), ("v", v)):
            leaf = self.hypothesis[name]
            if kernels.capturing() and kernels.usable(new) and kernels.cacheable(leaf):
                kernels.put(leaf, slots, new)
                continue
            new = shortened(new, leaf.dtype)
            if ledger.aligned:
                leaf.index_copy_(2, slots[0], new)
            else:
                leaf.scatter_(2, slots[:, None, :, None].expand_as(new), new)
        return self.used("k", self.hypothesis["k"]), self.used("v", self.hypothesis["v"]), keys


def shortened(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x in a type that may be shorter: in float16 what is too large for it is its largest number."""
    if dtype != torch.float16 or x.dtype == dtype:
        return x.to(dtype)
    if kernels.usable(x) and x.dim() == 4 and x.stride(3) == 1:
        found = torch.empty(x.shape, dtype=dtype)
        kernels.put(found, torch.arange(x.shape[2])[None], x)
        return found
    most = torch.finfo(dtype).max
    return x.clamp(-most, most).to(dtype)


class MemoryTokens(State):
    """The tokens of a memory, one object until the rows change, so that the layers share masks by its identity."""

    kind = "memory"

    def __init__(self, tokens: Tokens) -> None:
        leaves = {"pos": tokens.pos, "segment": tokens.segment, "prefix": tokens.prefix}
        super().__init__(source={name: leaf for name, leaf in leaves.items() if leaf is not None})
        self.tokens = tokens

    def drop(self, keep: Tensor, width: int) -> None:
        super().drop(keep, width)
        self.tokens = self._read()

    def write(self, slots: Tensor, other: State, width: int) -> None:
        assert self.source.keys() == other.source.keys(), "a memory takes rows that are packed as its own are"
        super().write(slots, other, width)
        self.tokens = self._read()

    def _read(self) -> Tokens:
        return Tokens(self.source["pos"], self.source.get("segment"), self.source.get("prefix"))


class MemoryState(State):
    """What a layer computes once a source (`leaves`, as cross keys), and the tokens of the memory."""

    def __init__(self, tokens: Tokens, **leaves: Tensor) -> None:
        super().__init__(source=leaves, common=MemoryTokens(tokens))

    @property
    def tokens(self) -> Tokens:
        """The tokens of the memory's rows that are left."""
        assert isinstance(self.common, MemoryTokens)
        return self.common.tokens


class DecoderState:
    """The states of a decoder's layers: for each layer one of its self-attention and one of its cross-attention."""

    def __init__(self, layers: list[tuple[State, State]], *, width: int) -> None:
        self.layers, self.width = layers, width
        self._states = [state for pair in layers for state in pair]
        for state in self._states:  # read at each step from now on, and keys head by head
            state.source = {name: leaf.contiguous() for name, leaf in state.source.items()}
        shared: dict[object, State] = {}
        for state in self._states:
            if state.common is not None:
                state.common = shared.setdefault(state.common.kind, state.common)
        self._states += shared.values()

    @property
    def leaves(self) -> list[Tensor]:
        """All tensors of all states, sources' first."""
        return [leaf for state in self._states for leaf in state.source.values()] + [
            leaf for state in self._states for leaf in state.hypothesis.values()
        ]

    def spread(self, sources: int) -> None:
        """From now on each row has positions of its own, so that sources may join when others are on their way."""
        for state in self._states:
            state.spread(sources * self.width)

    def filled(self, count: int) -> None:
        """Says that no row holds more than `count` tokens, where steps were run that the caches saw nothing of."""
        for state in self._states:
            if isinstance(state, KeyValueCache):
                state.filled(count)

    def reorder(self, index: Tensor) -> None:
        """Hypothesis row i becomes what row `index[i]` was, of the same source, in place; `index` (r,) may be of the
        first rows alone."""
        for state in self._states:
            state.reorder(index, self.width)

    def move(self, to: Tensor, of: Tensor) -> None:
        """Sources `to` (m,), with their hypotheses, become what the sources `of`, which are others, are, in place."""
        lanes = torch.arange(self.width, device=to.device)
        rows = [(part[:, None] * self.width + lanes).flatten() for part in (to, of)]
        for state in self._states:
            state.move((to, of), (rows[0], rows[1]))

    def drop(self, keep: Tensor) -> None:
        """Keep the sources `keep` (n,), with their hypotheses, in that order."""
        for state in self._states:
            state.drop(keep, self.width)

    def part(self, sources: slice) -> Self:
        """Some sources with their hypotheses, where each has rows of its own, in the same memory: for another state's
        `write`, and for nothing else (`layers` stay whole)."""
        found = copy.copy(self)
        rows = slice(sources.start * self.width, sources.stop * self.width)
        found._states = [state.part(sources, rows) for state in self._states]
        return found

    def become(self, other: DecoderState) -> None:
        """All states become those of `other`, which has the same shapes, in place."""
        for mine, theirs in zip(self._states, other._states, strict=True):
            mine.become(theirs)

    def write(self, slots: Tensor, other: DecoderState) -> None:
        """Sources `slots` (n,) become those of `other`, in place."""
        for mine, theirs in zip(self._states, other._states, strict=True):
            mine.write(slots, theirs, self.width)
