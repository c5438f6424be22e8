"""Caches of keys and values that grow, filled slot by slot.

A cache returns its keys together with their tokens, so that attention is the same code in training and decoding. The
base class is in state.py, a cache of constant size in ring.py.

Shapes: R hypotheses, G key-value heads, C capacity, D features, L new tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.operations import operation
from antiphon.nn.state import State, zeros


class SlotTable(State):
    """The position of the token in each slot of a cache, `k_pos` (R or 1, C + 1), -1 in free slots, and the number of
    slots in use, `count` (R or 1,).

    The layers of a stack share one table. With `aligned` all rows have the same positions and the table has one row.
    """

    empty: ClassVar[Mapping[str, int]] = {"k_pos": -1}

    def __init__(self, rows: int, capacity: int, *, aligned: bool, device: torch.device) -> None:
        rows = 1 if aligned else rows
        pos = torch.full((rows, capacity + 1), -1, dtype=torch.long, device=device)
        super().__init__(hypothesis={"k_pos": pos, "count": torch.zeros(rows, dtype=torch.long, device=device)})
        self.aligned, self.capacity, self._width = aligned, capacity, 1
        self.kind = (SlotTable, capacity, aligned)

    def expand_rows(self, rows: int) -> None:
        super().expand_rows(rows)
        self.aligned, self.kind = False, (SlotTable, self.capacity, False)

    @property
    def ancestry(self) -> Tensor | None:
        """(R, C + 1): for each slot of a row, the hypothesis of the same source whose cache contains it (see
        `antiphon.runtime.ancestry`). None: every row has its own keys and values."""
        return self.hypothesis.get("ancestry")

    def add_ancestry(self, rows: int, width: int) -> Tensor:
        """Add and return an ancestry table. From now on a reordering exchanges its rows, not keys and values."""
        self._width = width
        ancestry = self.hypothesis["ancestry"] = _own_hypothesis(rows, width).expand(-1, self.capacity + 1).contiguous()
        return ancestry

    def remove_ancestry(self) -> Tensor | None:
        """Remove the ancestry table and return it; None if there is none."""
        return self.hypothesis.pop("ancestry", None)

    def write(self, slots: Tensor, other: State, width: int) -> None:
        rows = (slots[:, None] * width + torch.arange(width, device=slots.device)).flatten()
        assert isinstance(other, SlotTable) and other.capacity <= self.capacity
        pos, new = self.hypothesis["k_pos"], other.hypothesis["k_pos"]
        pos[rows] = -1
        pos[rows, : other.capacity] = new[:, : other.capacity]
        self.hypothesis["count"][rows] = other.hypothesis["count"]
        if self.ancestry is not None:
            self.ancestry[rows] = _own_hypothesis(rows.numel(), width)

    def copy_from(self, other: State) -> None:
        ancestry = self.remove_ancestry()
        super().copy_from(other)
        if ancestry is not None:  # `other` is a new state and has none
            self.hypothesis["ancestry"] = ancestry.copy_(_own_hypothesis(ancestry.shape[0], self._width))

    def place(self, tokens: Tokens) -> tuple[Tensor, Tokens, int]:
        """Assign slots to new tokens: the slots (R or 1, L), the tokens of all keys, and the number of slots to read.

        Computed once for all layers of a forward.
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
        slots, key_pos, reach = assign_slots(pos, count, tokens.pos)
        assert reach <= self.capacity, f"a cache of {self.capacity} slots was given {reach} tokens"
        return slots, Tokens(key_pos), reach


@operation
def assign_slots(key_pos: Tensor, count: Tensor, new_pos: Tensor) -> tuple[Tensor, Tensor, int]:
    """Assign the next free slots to new tokens and update a slot table in place.

    `key_pos` (R, C + 1) is the position in each slot, `count` (R,) the slots in use, `new_pos` (R or 1, L) the new
    positions, -1 at padding. Returns the slots (R, L), the positions of the keys to read (R, K), and K.
    """
    capacity = key_pos.shape[1] - 1
    new = new_pos.expand(key_pos.shape[0], -1)
    valid = new >= 0
    # Padding goes to the last slot, which is never read.
    slots = torch.where(valid, count[:, None] + valid.cumsum(1) - 1, capacity)
    key_pos.scatter_(1, slots, torch.where(valid, new, -1))
    count += valid.sum(1)
    reach = slots_in_use(count, capacity)
    return slots, key_pos[:, :reach].clone(), reach


@operation
def slots_in_use(count: Tensor, capacity: int) -> int:
    """The number of slots to read: on a CPU the maximum of `count` (R,), elsewhere `capacity`, since reading the value
    of a tensor synchronizes a GPU. Free slots are masked."""
    return int(count.max()) if count.device.type == "cpu" else capacity


def _own_hypothesis(rows: int, width: int) -> Tensor:
    """(R, 1): the index of each row among the `width` hypotheses of its source."""
    return torch.arange(rows, dtype=torch.int32).remainder(width)[:, None]


class KeyValueCache(State):
    """Keys and values (R, G, C, D) of one layer, filled slot by slot.

    `update` returns all keys and values so far, with their tokens.
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
        """Set the number of tokens, at most, of a row, after steps that were run without a call of `update`."""
        self._reach = min(count, self.hypothesis["k"].shape[2] - 1)

    def used(self, name: str, leaf: Tensor) -> Tensor:
        return leaf[:, :, : self._reach]

    def reorder(self, index: Tensor, width: int | None = None) -> None:
        if not (isinstance(self.common, SlotTable) and self.common.ancestry is not None):
            super().reorder(index, width)

    def write(self, slots: Tensor, other: State, width: int) -> None:
        assert isinstance(other, KeyValueCache)
        self._reach = max(self._reach, other._reach)
        rows = (slots[:, None] * width + torch.arange(width, device=slots.device)).flatten()
        for name, leaf in self.hypothesis.items():
            new = other.used(name, other.hypothesis[name])
            self.used(name, leaf)[rows] = 0.0  # hidden values are multiplied by zero, which keeps NaN
            if new.shape[2]:
                leaf[rows, :, : new.shape[2]] = new

    def copy_from(self, other: State) -> None:
        assert isinstance(other, KeyValueCache)
        self._reach = max(self._reach, other._reach)  # slots that neither has used are zero in both
        super().copy_from(other)
        self._reach = other._reach

    def update(self, k: Tensor, v: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tokens]:
        """Write k and v (R, G, L, D) of new `tokens` into the cache.

        Returns all keys, all values and their tokens, new ones included.
        """
        slot_table = self.common
        assert isinstance(slot_table, SlotTable)
        slots, keys, self._reach = slot_table.place(tokens)
        for name, new in (("k", k), ("v", v)):
            write_slots(self.hypothesis[name], slots, new)
        return self.used("k", self.hypothesis["k"]), self.used("v", self.hypothesis["v"]), keys


@operation
def write_slots(leaf: Tensor, slots: Tensor, new: Tensor) -> None:
    """Write `new` (R,G,L,D), cast to the type of `leaf`, into the slots (R or 1, L) of `leaf` (R,G,C,D), in place."""
    new = to_cache_type(new, leaf.dtype)
    if slots.shape[0] == 1:
        leaf.index_copy_(2, slots[0], new)
    else:
        leaf.scatter_(2, slots[:, None, :, None].expand_as(new), new)


@operation
def to_cache_type(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast x (R,G,L,D) to the type of a cache. Numbers beyond the range of float16 become its largest number."""
    if dtype != torch.float16 or x.dtype == dtype:
        return x.to(dtype)
    most = torch.finfo(dtype).max
    return x.clamp(-most, most).to(dtype)
