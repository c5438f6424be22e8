"""Decoding state, outside the model: tensors of fixed capacity that belong to source rows or to hypothesis rows.

The hypotheses of a source are contiguous, and their number W is given. `reorder`, `drop` and `write` are generic: beam
search, streaming and continuous batching need no more. A mixer of your own gets them by naming its tensors. The caches
of keys and values are in cache.py and ring.py.

Shapes: N sources, R = N·W hypotheses, C capacity.
"""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.operations import operation


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
                exchange_rows(self.used(name, leaf)[: index.numel()], index, width=width or index.numel())

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

    def filled(self, count: int) -> None:
        """No row holds more than `count` tokens; called after steps that were run without the code of this object."""

    def become(self, other: State) -> None:
        """All leaves become those of `other`, a state of the same shape, in place."""
        for name, leaf in self.source.items():
            leaf.copy_(other.source[name])
        for name, leaf in self.hypothesis.items():
            self.used(name, leaf).copy_(self.used(name, other.hypothesis[name]))


@operation
def exchange_rows(part: Tensor, index: Tensor, *, width: int) -> None:
    """Row r of `part` becomes what row index[r] was, one of the same `width` rows, in place. Rows with index[r] = r are
    not written."""
    moved = (index != torch.arange(index.numel(), device=index.device)).nonzero()[:, 0]
    part[moved] = part[index[moved]]


def spread_rows(state: State, rows: int) -> None:
    """Leaves of one row become leaves of `rows` equal ones."""
    for name, leaf in state.hypothesis.items():
        if leaf.shape[0] == 1 and rows > 1:
            state.hypothesis[name] = leaf.expand(rows, *leaf.shape[1:]).clone()


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
        """No row holds more than `count` tokens; called after steps that were run without the code of the caches."""
        for state in self._states:
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
