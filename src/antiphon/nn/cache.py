"""Caches of keys and values that grow, filled slot by slot.

A cache returns the tokens of its keys with the keys, so no code asks whether it is decoding. state.py has the base
class, ring.py a cache of constant size.

Shapes: R hypotheses, G key-value heads, C capacity, D features, L new tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.operations import operation
from antiphon.nn.state import State, spread_rows


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
        slots, key_pos, reach = assign_slots(pos, count, tokens.pos)
        assert reach <= self.capacity, f"a cache of {self.capacity} slots was given {reach} tokens"
        return slots, Tokens(key_pos), reach


@operation
def assign_slots(key_pos: Tensor, count: Tensor, new_pos: Tensor) -> tuple[Tensor, Tensor, int]:
    """The next free slots for new tokens, entered into a slot table in place.

    `key_pos` (R, C + 1) is the position in each slot, `count` (R,) the slots in use, `new_pos` (R or 1, L) the new
    positions, -1 at padding. Returns the slots (R, L), the positions of the keys that a reader must see (R, K), and K.
    """
    capacity = key_pos.shape[1] - 1
    new = new_pos.expand(key_pos.shape[0], -1)
    valid = new >= 0
    # Padding goes to the last slot, which no reader sees.
    slots = torch.where(valid, count[:, None] + valid.cumsum(1) - 1, capacity)
    key_pos.scatter_(1, slots, torch.where(valid, new, -1))
    count += valid.sum(1)
    reach = slots_in_use(count, capacity)
    return slots, key_pos[:, :reach].clone(), reach


@operation
def slots_in_use(count: Tensor, capacity: int) -> int:
    """How many slots a reader must see: the largest of `count` (R,), or all `capacity` slots where the value of a
    tensor costs a synchronization (on a GPU); the mask hides those that are free."""
    return int(count.max()) if count.device.type == "cpu" else capacity


def _own_lanes(rows: int, width: int) -> Tensor:
    """(R, 1): each row's own place among the hypotheses of its source."""
    return torch.arange(rows, dtype=torch.int32).remainder(width)[:, None]


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
            write_slots(self.hypothesis[name], slots, new)
        return self.used("k", self.hypothesis["k"]), self.used("v", self.hypothesis["v"]), keys


@operation
def write_slots(leaf: Tensor, slots: Tensor, new: Tensor) -> None:
    """`new` (R,G,L,D) into the slots (R or 1, L) of `leaf` (R,G,C,D), in the type of `leaf`."""
    new = to_cache_type(new, leaf.dtype)
    if slots.shape[0] == 1:
        leaf.index_copy_(2, slots[0], new)
    else:
        leaf.scatter_(2, slots[:, None, :, None].expand_as(new), new)


@operation
def zeros(shape: Sequence[int], *, like: Tensor) -> Tensor:
    """Zeros of this shape, in the type and on the device of `like`."""
    return torch.zeros(tuple(shape), dtype=like.dtype, device=like.device)


@operation
def to_cache_type(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x (R,G,L,D) in the type of a cache. Numbers that are too large for float16 become its largest number."""
    if dtype != torch.float16 or x.dtype == dtype:
        return x.to(dtype)
    most = torch.finfo(dtype).max
    return x.clamp(-most, most).to(dtype)
