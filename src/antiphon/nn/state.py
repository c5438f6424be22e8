"""Decoding state, stored outside the model: tensors of fixed capacity with one row for each source or hypothesis.

The W hypotheses of a source are contiguous rows. `reorder`, `drop` and `write` are all that beam search, streaming and
continuous batching need; they are generic, so a mixer of your own only names its tensors. The caches of keys and values
are in cache.py and ring.py.

Shapes: N sources, R = N·W hypotheses, C capacity.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.operations import operation


class State:
    """Tensors by name (leaves), whose first dimension is rows: `source` leaves have N rows, `hypothesis` leaves R rows,
    or 1 if all rows are equal.

    `common` is a state that layers share if its `kind` is equal: the slot table of a cache, the tokens of a memory.
    `empty` has the value of a row that is not in use, for leaves where it is not 0. If `record` is a list, a mixer with
    attention weights appends those of each forward, (B, H, Q, K) (`Mixer.recorder`).
    """

    kind: object = None
    empty: ClassVar[Mapping[str, int]] = {}
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
        """The part of a leaf that is in use; the rest is zeros."""
        return leaf

    def reorder(self, index: Tensor, width: int | None = None) -> None:
        """Copy hypothesis row `index[i]` to row i, in place. Both are among the same `width` rows (None: any rows).

        `index` (r,) may have fewer entries than there are rows: then only the first r rows are in use.
        """
        for name, leaf in self.hypothesis.items():
            if leaf.shape[0] > 1:
                exchange_rows(self.used(name, leaf)[: index.numel()], index, width=width or index.numel())

    def move(self, sources: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]) -> None:
        """Copy sources `sources[1]` (m,) and hypotheses `rows[1]` (m·W,) to `sources[0]` and `rows[0]`, in place. No
        row is in both."""
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
        """Overwrite sources `slots` (n,) and their hypotheses with those of `other`, in place.

        Both states have one row for each hypothesis. A cache of `other` may have less capacity, and its memories fewer
        positions.
        """
        rows = (slots[:, None] * width + torch.arange(width, device=slots.device)).flatten()
        for name, leaf in self.source.items():
            new = other.source[name]
            if new.shape[1:] == leaf.shape[1:]:
                leaf[slots] = new
            else:
                if name in self.empty:  # what is left elsewhere belongs to no position
                    leaf[slots] = self.empty[name]
                leaf[(slots, *(slice(size) for size in new.shape[1:]))] = new
        for name, leaf in self.hypothesis.items():
            leaf[rows] = other.hypothesis[name]

    def part(self, sources: slice, rows: slice) -> Self:
        """A view of some sources and their hypotheses. Each must have rows of its own."""
        found = copy.copy(self)
        found.source = {name: leaf[sources] for name, leaf in self.source.items()}
        found.hypothesis = {name: leaf[rows] for name, leaf in self.hypothesis.items()}
        return found

    def expand_rows(self, rows: int) -> None:
        """Expand hypothesis leaves with one shared row to `rows` equal rows, one for each hypothesis."""
        for name, leaf in self.hypothesis.items():
            if leaf.shape[0] == 1 and rows > 1:
                self.hypothesis[name] = leaf.expand(rows, *leaf.shape[1:]).clone()

    def enlarge(self, sources: int, rows: int) -> None:
        """Add unused rows behind the present ones, so that there are `sources` sources and `rows` hypotheses. Each must
        have rows of its own."""
        for leaves, count in ((self.source, sources), (self.hypothesis, rows)):
            for name, leaf in leaves.items():
                larger = zeros((count, *leaf.shape[1:]), like=leaf)
                if name in self.empty:
                    larger.fill_(self.empty[name])
                is_cache = leaves is self.hypothesis
                new, old = (self.used(name, each) if is_cache else each for each in (larger, leaf))
                new[: leaf.shape[0]] = old
                leaves[name] = larger

    def filled(self, count: int) -> None:
        """Called after steps that were run without the code of this object. No row has more than `count` tokens."""

    def copy_from(self, other: State) -> None:
        """Copy all leaves of `other`, a state of the same shapes, in place."""
        for name, leaf in self.source.items():
            leaf.copy_(other.source[name])
        for name, leaf in self.hypothesis.items():
            self.used(name, leaf).copy_(self.used(name, other.hypothesis[name]))


@operation
def exchange_rows(part: Tensor, index: Tensor, *, width: int) -> None:
    """Copy row index[r] of `part` to row r, in place; both are among the same `width` rows. Rows with index[r] = r are
    not written."""
    moved = (index != torch.arange(index.numel(), device=index.device)).nonzero()[:, 0]
    part[moved] = part[index[moved]]


@operation
def zeros(shape: Sequence[int], *, like: Tensor) -> Tensor:
    """Zeros of this shape, in the type and on the device of `like`."""
    return torch.zeros(tuple(shape), dtype=like.dtype, device=like.device)


class MemoryTokens(State):
    """The tokens of a memory. One `Tokens` object until the rows change, so that all layers share its masks."""

    kind = "memory"
    empty: ClassVar[Mapping[str, int]] = {"pos": -1}

    def __init__(self, tokens: Tokens) -> None:
        leaves = {"pos": tokens.pos, "segment": tokens.segment, "prefix": tokens.prefix}
        super().__init__(source={name: leaf for name, leaf in leaves.items() if leaf is not None})
        self.tokens = tokens

    def drop(self, keep: Tensor, width: int) -> None:
        super().drop(keep, width)
        self.tokens = self._read()

    def write(self, slots: Tensor, other: State, width: int) -> None:
        assert self.source.keys() == other.source.keys(), "rows of a memory must be packed in the same way"
        super().write(slots, other, width)
        self.tokens = self._read()

    def enlarge(self, sources: int, rows: int) -> None:
        super().enlarge(sources, rows)
        self.tokens = self._read()

    def _read(self) -> Tokens:
        return Tokens(self.source["pos"], self.source.get("segment"), self.source.get("prefix"))


class MemoryState(State):
    """Tensors that a layer computes once for a source, such as cross-attention keys, and the tokens of the memory."""

    def __init__(self, tokens: Tokens, **leaves: Tensor) -> None:
        super().__init__(source=leaves, common=MemoryTokens(tokens))

    @property
    def tokens(self) -> Tokens:
        """The tokens of the present rows of the memory."""
        assert isinstance(self.common, MemoryTokens)
        return self.common.tokens


class DecoderState:
    """The states of a decoder: for each layer that of its self-attention and that of its cross-attention."""

    def __init__(self, layers: list[tuple[State, State]], *, width: int) -> None:
        self.layers, self.width = layers, width
        self._states = [state for pair in layers for state in pair]
        for state in self._states:  # read at each step, one head at a time
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

    def expand_rows(self, sources: int) -> None:
        """Give each row its own positions, so that sources can join while others are being decoded."""
        for state in self._states:
            state.expand_rows(sources * self.width)

    def enlarge(self, sources: int) -> None:
        """Add unused rows, so that there are `sources` sources; after `expand_rows`."""
        for state in self._states:
            state.enlarge(sources, sources * self.width)

    def filled(self, count: int) -> None:
        """Called after steps that were run without the code of the caches. No row has more than `count` tokens."""
        for state in self._states:
            state.filled(count)

    def reorder(self, index: Tensor) -> None:
        """Copy hypothesis row `index[i]` to row i of the same source, in place; `index` (r,) may cover only the first
        rows."""
        for state in self._states:
            state.reorder(index, self.width)

    def move(self, to: Tensor, of: Tensor) -> None:
        """Copy the sources `of` (m,) and their hypotheses to the sources `to`, in place. No source is in both."""
        hypotheses = torch.arange(self.width, device=to.device)
        rows = [(part[:, None] * self.width + hypotheses).flatten() for part in (to, of)]
        for state in self._states:
            state.move((to, of), (rows[0], rows[1]))

    def drop(self, keep: Tensor) -> None:
        """Keep the sources `keep` (n,), with their hypotheses, in that order."""
        for state in self._states:
            state.drop(keep, self.width)

    def part(self, sources: slice) -> Self:
        """A view of some sources and their hypotheses, only as the argument of another state's `write`: `layers` are
        not sliced."""
        found = copy.copy(self)
        rows = slice(sources.start * self.width, sources.stop * self.width)
        found._states = [state.part(sources, rows) for state in self._states]
        return found

    def copy_from(self, other: DecoderState) -> None:
        """Copy all states of `other`, which has the same shapes, in place."""
        for mine, theirs in zip(self._states, other._states, strict=True):
            mine.copy_from(theirs)

    def write(self, slots: Tensor, other: DecoderState) -> None:
        """Overwrite sources `slots` (n,) with those of `other`, in place."""
        for mine, theirs in zip(self._states, other._states, strict=True):
            mine.write(slots, theirs, self.width)
