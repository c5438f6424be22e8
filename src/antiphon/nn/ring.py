"""A cache of constant size, for a decoder whose rule has a bounded reach to the left.

It contains the last tokens that a later query may see, and the first tokens if they are always visible. It returns what
a growing cache would return, without the keys that the rule hides from all present and later queries:

    cache = RingCache(rows, left=127, sinks=0, num_heads=8, head_dim=64, like=weight)
    k, v, keys = cache.update(k, v, tokens)      # one token or a whole prefix, of any length

Slots are assigned by the index of a token in its row, not by its position: positions increase, so the last n tokens
reach at least n positions back. The first tokens are as in Xiao et al. 2024, StreamingLLM, section 3.2, but here tokens
keep their positions. Shapes: R hypotheses, G key heads, D features, M slots, L new tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.cache import KeyValueCache, slots_in_use, to_cache_type, write_slots
from antiphon.nn.rules import Reach
from antiphon.nn.state import State


class RingSlots(NamedTuple):
    """The `slots` (R or 1, L) of new tokens, and the tokens of the keys that `update` returns. These are the first
    `before` slots before the update, followed by the new keys; or, if `before` is None, the first `after` slots after
    the update."""

    slots: Tensor
    keys: Tokens
    before: int | None
    after: int


class RingSlotTable(State):
    """The position in each slot, `k_pos` (R or 1, M + 1), -1 in free slots; `count` (R or 1,), the tokens so far.

    The first `sinks` slots are for the first tokens, the others are reused in turn; the last slot is for tokens that
    are not stored. The layers of a stack with the same reach share one table. With `aligned` it has one row for all.
    """

    empty: ClassVar[Mapping[str, int]] = {"k_pos": -1}

    def __init__(self, rows: int, *, left: int, sinks: int, aligned: bool, device: torch.device) -> None:
        rows, size = 1 if aligned else rows, left + 1 + sinks
        pos = torch.full((rows, size + 1), -1, dtype=torch.long, device=device)
        super().__init__(hypothesis={"k_pos": pos, "count": torch.zeros(rows, dtype=torch.long, device=device)})
        self.aligned, self.sinks, self.turns, self.size = aligned, sinks, left + 1, size
        self.kind = (RingSlotTable, left, sinks, aligned)

    @property
    def reach(self) -> int:
        """The number of slots in use; on a GPU all slots, since reading it would synchronize."""
        return min(self.size, slots_in_use(self.hypothesis["count"], self.size))

    def expand_rows(self, rows: int) -> None:
        super().expand_rows(rows)
        self.aligned = False
        self.kind = (RingSlotTable, self.turns - 1, self.sinks, False)

    def place(self, tokens: Tokens) -> RingSlots:
        """Assign slots to new `tokens`; computed once a forward for all caches with this table."""
        found = tokens.memo.get(id(self))
        if found is None:
            found = tokens.memo[id(self)] = self._place(tokens)
        assert isinstance(found, RingSlots)
        return found

    def _place(self, tokens: Tokens) -> RingSlots:
        pos, count = self.hypothesis["k_pos"], self.hypothesis["count"]
        assert not self.aligned or tokens.pos.shape[0] == 1, (
            "an aligned cache takes tokens with one shared row of positions"
        )
        new = tokens.pos.expand(pos.shape[0], -1)
        valid = new >= 0
        before = self.reach
        # With one token a row, the rule hides the key that it replaces from it, so no copy is needed.
        single = new.shape[1] == 1
        keys = None if single else Tokens(torch.cat([pos[:, :before], new], dim=1))
        number = count[:, None] + valid.cumsum(1) - 1
        count += valid.sum(1)
        kept = valid & ((number < self.sinks) | (number >= count[:, None] - self.turns))
        turn = self.sinks + (number - self.sinks).remainder(self.turns)
        slots = torch.where(kept, torch.where(number < self.sinks, number, turn), self.size)
        pos.scatter_(1, slots, torch.where(kept, new, -1))
        after = self.reach
        return RingSlots(slots, keys or Tokens(pos[:, :after].clone()), None if single else before, after)


class RingCache(KeyValueCache):
    """Keys and values (R, G, M + 1, D) of one layer, M = left + 1 + sinks, whatever the length of the target."""

    def __init__(
        self,
        rows: int,
        *,
        left: int,
        sinks: int,
        num_heads: int,
        head_dim: int,
        like: Tensor,
        aligned: bool = True,
    ) -> None:
        shape = (rows, num_heads, left + 1 + sinks + 1, head_dim)
        State.__init__(
            self,
            hypothesis={name: torch.zeros(shape, dtype=like.dtype, device=like.device) for name in ("k", "v")},
            common=RingSlotTable(rows, left=left, sinks=sinks, aligned=aligned, device=like.device),
        )
        self._reach = 0 if like.device.type == "cpu" else left + 1 + sinks

    def update(self, k: Tensor, v: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tokens]:
        """Write those of k and v (R, G, L, D) of `tokens` that a later query may see.

        Returns the keys, the values and their tokens that the present queries may see, new ones included.
        """
        slot_table = self.common
        assert isinstance(slot_table, RingSlotTable)
        placed = slot_table.place(tokens)
        self._reach = placed.after
        return self._put("k", k, placed), self._put("v", v, placed), placed.keys

    def _put(self, name: str, new: Tensor, placed: RingSlots) -> Tensor:
        leaf, slots = self.hypothesis[name], placed.slots
        new = to_cache_type(new, leaf.dtype)
        seen = None if placed.before is None else torch.cat([leaf[:, :, : placed.before], new], dim=2)
        write_slots(leaf, slots, new)
        return leaf[:, :, : placed.after] if seen is None else seen


def make_cache(
    rows: int, capacity: int, reach: Reach | None, *, num_heads: int, head_dim: int, like: Tensor
) -> KeyValueCache:
    """A cache for `capacity` tokens under a rule with this reach: a ring if that is smaller, else one that grows."""
    if reach is None or reach[0] is None or reach[0] + 1 + reach[2] >= capacity:
        return KeyValueCache(rows, capacity, num_heads=num_heads, head_dim=head_dim, like=like)
    return RingCache(rows, left=reach[0], sinks=reach[2], num_heads=num_heads, head_dim=head_dim, like=like)
