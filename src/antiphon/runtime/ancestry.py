"""The histories of a beam without copies: each hypothesis knows which one of its source holds each place of its past.

A hypothesis that goes on from another one shares its past. Instead of copying that past's keys and values, a beam under
a written step exchanges small tables, `lanes` (R, C + 1), that `attend` reads through (compare Pope et al. 2022,
"Efficiently Scaling Transformer Inference", which has caches of one lane only). What hypotheses share is then read from
memory once as well.

    trace(state, notes.entries)     # where nothing but `attend` reads the caches; the steps are told
    settle(state)                   # each hypothesis holds its own past again

No slot is written twice in a cache that grows, so that what a lane holds stays as long as anyone may ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.nn.cache import KeyValueCache, SlotTable
from antiphon.nn.state import DecoderState, State
from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.recorder.record import Entry, memory_of

# Places among the tensors and sizes of a step (attend.c, places.c).
ATTEND_LANES, ATTEND_STRIDE, ATTEND_WIDTH = 7, 27, 28
PLACE_LANES, PLACE_WIDTH, PLACE_ROWS, PLACE_STRIDE = 4, 4, 5, 6


def trace(state: DecoderState, entries: Sequence[Entry]) -> None:
    """From the next step of `entries` on, hypotheses are reordered by their lanes, wherever that can be."""
    if state.width == 1:
        return
    for ledger, caches in _ledgers(state):
        leaves = {memory_of(leaf) for cache in caches for leaf in cache.hypothesis.values()}
        rows = caches[0].hypothesis["k"].shape[0]
        readers = [entry for entry in entries if leaves & set(map(memory_of, entry.reads))]
        writers = [entry for entry in entries if leaves & set(map(memory_of, entry.writes))]
        pos = memory_of(ledger.hypothesis["k_pos"])
        placing = [entry for entry in entries if pos in map(memory_of, entry.writes)]
        attending = [entry for entry in readers if isinstance(entry, KernelCall) and _attends(entry, leaves, rows)]
        if len(attending) < len(readers) or {_name(entry) for entry in writers + placing} != {"put", "place"}:
            continue
        lanes = ledger.trace(rows, state.width)
        for entry in attending:
            entry.step.p[ATTEND_LANES] = lanes.data_ptr()
            entry.step.n[ATTEND_STRIDE], entry.step.n[ATTEND_WIDTH] = lanes.stride(0), state.width
            entry.reads, entry.held = (*entry.reads, lanes), (*entry.held, lanes)
        for entry in placing:
            assert isinstance(entry, KernelCall)
            entry.step.p[PLACE_LANES] = lanes.data_ptr()
            entry.step.n[PLACE_WIDTH : PLACE_STRIDE + 1] = state.width, rows, lanes.stride(0)
            entry.writes, entry.held = (*entry.writes, lanes), (*entry.held, lanes)


def settle(state: DecoderState) -> None:
    """Each hypothesis gets the keys and values of its past into rows of its own, and there are no lanes."""
    for ledger, caches in _ledgers(state):
        lanes = ledger.forget_lanes()
        if lanes is None:
            continue
        own = torch.arange(lanes.shape[0])[:, None]
        rows = own - own % state.width + lanes  # (R, C + 1)
        for cache in caches:
            for name, leaf in cache.hypothesis.items():
                used = cache.used(name, leaf)
                places = torch.arange(used.shape[2])
                used.copy_(used.transpose(1, 2)[rows[:, places], places].transpose(1, 2))


def _ledgers(state: DecoderState) -> list[tuple[SlotTable, list[KeyValueCache]]]:
    """The caches that grow, by the ledger that they share; none whose ledger is shared by anything else."""
    found: dict[int, tuple[SlotTable, list[State]]] = {}
    for each in (each for pair in state.layers for each in pair):
        if type(each.common) is SlotTable:
            found.setdefault(id(each.common), (each.common, []))[1].append(each)
    caches = ((ledger, [each for each in sharing if type(each) is KeyValueCache]) for ledger, sharing in found.values())
    return [(ledger, mine) for ledger, mine in caches if len(mine) == len(found[id(ledger)][1])]


def _name(entry: Entry) -> str:
    return entry.name if isinstance(entry, KernelCall) else ""


def _attends(entry: KernelCall, leaves: set[int], rows: int) -> bool:
    """Whether it reads the caches as keys and values alone, for queries of the same rows."""
    if entry.name != "attend":
        return False
    q, k, v, *others = entry.reads
    mine: list[Tensor] = [k, v]
    return (
        all(memory_of(each) in leaves for each in mine)
        and not any(memory_of(each) in leaves for each in (q, *others))
        and {each.shape[0] for each in (q, k, v)} == {rows}
    )
