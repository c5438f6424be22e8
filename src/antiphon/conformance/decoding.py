"""Laws of decoding: the output of a row does not depend on how it is split into steps, cached, reordered, or
batched."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.conformance.meter import OUTPUT, DifferenceMeter, Skip
from antiphon.conformance.subject import D_MODEL, AttentionUnit, Subject, draw, loosen, ordered, placed
from antiphon.nn.mixers import Memory
from antiphon.nn.ring import RingCache
from antiphon.nn.state import DecoderState, State

MAX_RING_TOKENS = 256  # tokens of a ring that is filled three times


def steps(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """a whole row = a prefix and single steps = chunks"""
    for unit in subject.units(role):
        meter.context = unit.label
        x, memory = draw(2, 6, D_MODEL), unit.memory(5, 3)
        whole = unit(x, ordered(6), memory)
        for cuts in ((1,) * 6, (3, 1, 1, 1), (2, 4), (1, 3, 2), (6,)):
            found = run(unit, x, unit.begin(2, 6, memory), cuts)
            meter.equal(found, whole, axes=OUTPUT, what=f"a row cut into {', '.join(map(str, cuts))}")


def run(unit: AttentionUnit, x: Tensor, state: DecoderState, cuts: tuple[int, ...]) -> Tensor:
    """Run x (R, L, D) in parts of these lengths, with `state`."""
    parts, start = [], 0
    for length in cuts:
        parts.append(unit.step(x[:, start : start + length], ordered(length, start), state))
        start += length
    return torch.cat(parts, 1)


def caches(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """a cache with exactly enough capacity = one with more capacity"""
    for unit in subject.units(role):
        meter.context = unit.label
        x = draw(2, 11, D_MODEL)
        whole = unit(x, ordered(11))
        for capacity in (11, 12, 64):
            found = run(unit, x, unit.begin(2, capacity), (4, *[1] * 7))
            meter.equal(found, whole, axes=OUTPUT, what=f"a cache of {capacity} places and the whole row")


def ring(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """with a bounded reach to the left, a ring cache of that length = the whole row, and its size is constant"""
    reach = subject.rule(role).reach if subject.is_rule else None
    if reach is None or reach[0] is None:
        raise Skip("its reach to the left is not bounded: a ring cache could not hold it")
    left, sinks = reach[0], reach[2]
    if left + sinks > MAX_RING_TOKENS:
        raise Skip(
            f"its reach is over {MAX_RING_TOKENS} tokens, too long to be decoded here: check it with a smaller one"
        )
    length = 3 * (left + sinks) + 12
    for unit in subject.units(role):
        meter.context = unit.label
        x = draw(2, length, D_MODEL)
        whole = unit(x, ordered(length))
        for cuts in ((1,) * length, (3, *[1] * (length - 3)), (5, 1, 4, *[2] * ((length - 10) // 2))):
            used, state = sum(cuts), unit.begin(2, length)
            if not isinstance(state.layers[0][0], RingCache):
                meter.fail(f"its state is no ring but a {type(state.layers[0][0]).__name__}")
            found = run(unit, x[:, :used], state, cuts)
            meter.equal(found, whole[:, :used], axes=OUTPUT, what=f"a ring filled by {cuts[:4]}")
        sizes = [_bytes(run_state(unit, capacity)) for capacity in (8 * length, 32 * length)]
        if sizes[0] != sizes[1]:
            meter.fail(f"the state of {32 * length} tokens takes {sizes[1]} bytes, that of {8 * length} {sizes[0]}")


def run_state(unit: AttentionUnit, capacity: int) -> DecoderState:
    """A state with a capacity of `capacity` tokens, after the first one."""
    state = unit.begin(1, capacity)
    unit.step(draw(1, 1, D_MODEL), ordered(1), state)
    return state


def _bytes(state: DecoderState) -> int:
    own = [state.layers[0][0], state.layers[0][0].common or State()]
    return sum(leaf.numel() * leaf.element_size() for each in own for leaf in each.hypothesis.values())


def joining(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """a row that joins, waits in and leaves a batch of rows of other lengths = the row alone"""
    lengths, sources = (4, 5, 4), (3, 5, 2)  # of A, B and C
    for unit in subject.units(role):
        meter.context = unit.label
        x, memory = draw(3, 5, D_MODEL), unit.memory(*sources)
        if memory is not None:
            memory = Memory(memory.hidden, Tokens(memory.tokens.pos.contiguous()))
        alone = [unit(x[i : i + 1, :n], ordered(n), _row(memory, i)) for i, n in enumerate(lengths)]
        state = loosen(unit.begin(2, 6, memory and memory.select(torch.tensor([0, 1]))), 2)
        guests = _JoiningRows(unit, x, alone, meter)
        guests.ask([0, 1], [[0, 1, 2], [0, 1, -1]], state)  # A and B begin together, B with padding
        guests.ask([0, 1], [[3], [-1]], state)  # B waits
        guests.ask([0, 1], [[-1], [2]], state)  # A waits
        joins = loosen(unit.begin(1, 6, _row(memory, 2)), 1)
        guests.ask([2], [[0, 1]], joins)
        state.write(torch.tensor([0]), joins)  # C takes the place of A
        guests.ask([2, 1], [[2], [3]], state)
        guests.ask([2, 1], [[-1], [4]], state)
        state.drop(torch.tensor([0]))  # B leaves
        guests.ask([2], [[3]], state)


@dataclass(frozen=True)
class _JoiningRows:
    """Three rows x (3, L, D), A, B and C, that join and leave a batch, and the output of each `alone`."""

    unit: AttentionUnit
    x: Tensor
    alone: list[Tensor]
    meter: DifferenceMeter

    def ask(self, rows: list[int], pos: list[list[int]], state: DecoderState) -> None:
        """Run a step of the batch whose rows are `rows`, with the tokens at `pos`; -1 is padding, where a row waits."""
        given = [self.x[row, [max(place, 0) for place in places]] for row, places in zip(rows, pos, strict=True)]
        found = self.unit.step(torch.stack(given), placed(pos), state)
        self.meter.finite(found, axes=OUTPUT, what="the output in a batch of rows that wait")
        for at, (row, places) in enumerate(zip(rows, pos, strict=True)):
            for i, place in enumerate(places):
                if place >= 0:
                    gap = found[at, i] - self.alone[row][0, place]
                    what = f"row {'ABC'[row]} in a batch and alone, position {place}"
                    self.meter.equal(gap, torch.zeros_like(gap), axes=("feature",), what=what)


def _row(memory: Memory | None, row: int) -> Memory | None:
    return None if memory is None else memory.select(torch.tensor([row]))


def beams(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """the hypotheses of a source folded into one row of queries = separate rows"""
    width = 3
    for unit in subject.units(role):
        meter.context = unit.label
        x, memory = draw(2 * width, 2, D_MODEL), unit.memory(3, 5)
        assert memory is not None
        apart = unit(x, ordered(2), memory.select(torch.arange(2).repeat_interleave(width)))
        for tokens in (ordered(2), Tokens(ordered(2).pos.repeat(2 * width, 1))):
            found = unit.step(x, tokens, unit.begin(2 * width, 2, memory, width=width))
            meter.equal(found, apart, axes=OUTPUT, what=f"{width} hypotheses folded and apart")


def reorder(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """reordering the hypotheses and a step = a step and reordering"""
    index = torch.tensor([1, 0, 2, 2])  # within each of two sources
    for unit in subject.units(role):
        meter.context = unit.label
        x, memory = draw(4, 5, D_MODEL), unit.memory(3, 5)
        before, after = (unit.begin(4, 6, memory, width=2) for _ in range(2))
        for state in (before, after):
            run(unit, x[:, :3], state, (2, 1))
        before.reorder(index)
        first = unit.step(x[index, 3:4], ordered(1, 3), before)
        second = unit.step(x[:, 3:4], ordered(1, 3), after)[index]
        meter.equal(first, second, axes=OUTPUT, what="the step after a reordering")
        after.reorder(index)
        next_steps = [unit.step(x[:, 4:5], ordered(1, 4), state) for state in (before, after)]
        meter.equal(*next_steps, axes=OUTPUT, what="the second step after a reordering")
