"""Beam ancestry: hypotheses share the keys and values of their common past, without copies.

A hypothesis that continues another one shares its past. A beam under a recorded step does not copy keys and values: it
has a small table, the ancestry (R, C + 1), which gives for each slot of a row's past the hypothesis of the same source
whose cache contains it. `attend` reads through this table (compare Pope et al. 2022, "Efficiently Scaling Transformer
Inference", whose caches have one hypothesis only). What hypotheses share is also read from memory once.

    use_ancestry(state, recorder.entries)   # for caches that only `attend` reads; changes the recorded calls
    materialize(state)                      # copies each hypothesis' past into its own cache; ends the ancestry

In a cache that grows no slot is written twice, so that the slots of an ancestor stay valid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.nn.cache import KeyValueCache, SlotTable
from antiphon.nn.state import DecoderState, State
from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.recorder.record import Entry, memory_of


def use_ancestry(state: DecoderState, entries: Sequence[Entry]) -> None:
    """Reorder hypotheses by their ancestry from the next run of `entries` on, for all caches that allow it."""
    if state.width == 1:
        return
    for slot_table, caches in _caches_by_slot_table(state):
        leaves = {memory_of(leaf) for cache in caches for leaf in cache.hypothesis.values()}
        rows = caches[0].hypothesis["k"].shape[0]
        readers = [entry for entry in entries if leaves & set(map(memory_of, entry.reads))]
        writers = [entry for entry in entries if leaves & set(map(memory_of, entry.writes))]
        pos = memory_of(slot_table.hypothesis["k_pos"])
        placing = [entry for entry in entries if pos in map(memory_of, entry.writes)]
        attending = [entry for entry in readers if isinstance(entry, KernelCall) and _attends(entry, leaves, rows)]
        if len(attending) < len(readers) or {_name(entry) for entry in writers + placing} != {"put", "place"}:
            continue
        ancestry = slot_table.add_ancestry(rows, state.width)
        for entry in attending:
            _set_ancestry(entry, ancestry, state.width)
            entry.reads, entry.held = (*entry.reads, ancestry), (*entry.held, ancestry)
        for entry in placing:
            assert isinstance(entry, KernelCall)
            _set_ancestry(entry, ancestry, state.width)
            entry.set_size("ancestry_rows", rows)
            entry.writes, entry.held = (*entry.writes, ancestry), (*entry.held, ancestry)


def _set_ancestry(entry: KernelCall, ancestry: Tensor, width: int) -> None:
    """Set the ancestry table (R, C + 1) of a call of `attend` or `place`. `width`: hypotheses of a source."""
    entry.set_pointer("ancestry", ancestry.data_ptr())
    entry.set_size("ancestry_stride", ancestry.stride(0))
    entry.set_size("beam_width", width)


def materialize(state: DecoderState) -> None:
    """Copy the keys and values of the past of each hypothesis into its own cache, and remove the ancestry."""
    for slot_table, caches in _caches_by_slot_table(state):
        ancestry = slot_table.remove_ancestry()
        if ancestry is None:
            continue
        own = torch.arange(ancestry.shape[0])[:, None]
        rows = own - own % state.width + ancestry  # (R, C + 1)
        for cache in caches:
            for name, leaf in cache.hypothesis.items():
                used = cache.used(name, leaf)
                places = torch.arange(used.shape[2])
                used.copy_(used.transpose(1, 2)[rows[:, places], places].transpose(1, 2))


def _caches_by_slot_table(state: DecoderState) -> list[tuple[SlotTable, list[KeyValueCache]]]:
    """The growing caches, by slot table; without those whose slot table other kinds of states share."""
    found: dict[int, tuple[SlotTable, list[State]]] = {}
    for each in (each for pair in state.layers for each in pair):
        if type(each.common) is SlotTable:
            found.setdefault(id(each.common), (each.common, []))[1].append(each)
    caches = (
        (slot_table, [each for each in sharing if type(each) is KeyValueCache])
        for slot_table, sharing in found.values()
    )
    return [(slot_table, mine) for slot_table, mine in caches if len(mine) == len(found[id(slot_table)][1])]


def _name(entry: Entry) -> str:
    return entry.name if isinstance(entry, KernelCall) else ""


def _attends(entry: KernelCall, leaves: set[int], rows: int) -> bool:
    """Whether the call reads the caches as its keys and values only, for queries of the same rows."""
    if entry.name != "attend":
        return False
    q, k, v, *others = entry.reads
    mine: list[Tensor] = [k, v]
    return (
        all(memory_of(each) in leaves for each in mine)
        and not any(memory_of(each) in leaves for each in (q, *others))
        and {each.shape[0] for each in (q, k, v)} == {rows}
    )
