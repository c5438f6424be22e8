"""Laws of independence: an output must not depend on later tokens, padding, other rows, other segments, or unused
slots."""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.conformance.meter import OUTPUT, DifferenceMeter, Skip
from antiphon.conformance.subject import D_MODEL, AttentionUnit, Subject, draw, ordered, padded, placed
from antiphon.nn.layers import zero_padding
from antiphon.nn.mixers import Memory, Mixer
from antiphon.nn.state import DecoderState

LENGTHS, SOURCES = (5, 2, 4), (3, 6, 4)  # lengths of target rows, and of the memory rows for them


def shape(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """the output has the shape and the type of the input, and is finite at padding too"""
    for unit in subject.units(role):
        meter.context = unit.label
        x = draw(4, 5, D_MODEL)
        memory = unit.memory(*SOURCES, 1, width=6)
        tokens = placed([*padded(*LENGTHS).pos.tolist(), [-1] * 5])
        found = unit(x, tokens, memory)
        if found.shape != x.shape or found.dtype != x.dtype:
            wanted = f"{tuple(x.shape)} of {x.dtype}"
            meter.fail(f"the output must be {wanted}, but is {tuple(found.shape)} of {found.dtype}")
        meter.finite(found, axes=OUTPUT, what="the output")


def causality(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """no output depends on a later token"""
    for unit in subject.units(role):
        meter.context = unit.label
        x, length = draw(1, 6, D_MODEL).requires_grad_(), 6
        found, weights = unit(x, ordered(length)), draw(D_MODEL, seed=1)
        rows = [torch.autograd.grad(found[0, i] @ weights, x, retain_graph=True)[0][0] for i in range(length)]
        derivative = torch.stack(rows)  # (L, L, D)
        later = torch.ones(length, length, dtype=torch.bool).triu(1)[:, :, None]
        axes = ("query position", "key position", "feature")
        what = "the derivative of an output by a later token"
        meter.equal(derivative.where(later, 0.0), torch.zeros_like(derivative), axes=axes, what=what, tolerance=0)


def padding(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """padding on the left or on the right changes nothing"""
    for unit in subject.units(role):
        x, tokens, memory = draw(2, 4, D_MODEL), ordered(4), unit.memory(3, 3)
        plain = unit(x, tokens, memory)
        for left, right, where in ((2, 0, "on the left"), (0, 3, "on the right"), (1, 2, "on both sides")):
            meter.context = unit.label
            garbage = draw(2, 9, D_MODEL, seed=3)
            wide = torch.cat([garbage[:, :left], x, garbage[:, 9 - right :]], 1)
            pos = placed([[-1] * left + [0, 1, 2, 3] + [-1] * right])
            found = unit(wide, pos, memory)[:, left : left + 4]
            meter.equal(found, plain, axes=OUTPUT, what=f"padding {where}")
            if memory is not None:
                found = unit(x, tokens, _pad(memory, left, right))
                meter.equal(found, plain, axes=OUTPUT, what=f"padding of the memory {where}")


def _pad(memory: Memory, left: int, right: int) -> Memory:
    """The memory with zero padding."""
    hidden = torch.nn.functional.pad(memory.hidden, (0, 0, left, right))
    return Memory(hidden, Tokens(torch.nn.functional.pad(memory.tokens.pos, (left, right), value=-1)))


def batch(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """a row alone = the row in a batch of other rows, in any order"""
    for unit in subject.units(role):
        meter.context = unit.label
        x, tokens, memory = draw(3, 5, D_MODEL), padded(*LENGTHS), unit.memory(*SOURCES)
        together, order = unit(x, tokens, memory), torch.tensor([2, 0, 1])
        moved = unit(x[order], tokens.select(order), memory and memory.select(order))
        for row, length in enumerate(LENGTHS):
            own = None if memory is None else memory.select(torch.tensor([row]))
            alone = unit(x[row : row + 1, :length], ordered(length), own)
            for found, place, what in ((together, row, "in a batch"), (moved, int(order.argsort()[row]), "moved")):
                gap = torch.zeros_like(found[:, :length])
                gap[row] = found[place, :length] - alone[0]
                meter.equal(gap, torch.zeros_like(gap), axes=OUTPUT, what=f"a row {what} and alone")


def packing(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """examples packed into one row as segments = separate rows"""
    if isinstance(subject.part, Mixer) and not subject.part.packs:
        raise Skip("it says packs = False: its rows are never packed")
    segments, memory_segments = (3, 1, 2), (2, 3, 1)
    for unit in subject.units(role):
        meter.context = unit.label
        x, memory = draw(1, 7, D_MODEL), _packed_memory(unit, memory_segments)
        found = unit(x, _packed(segments, 7), memory)
        start = source = 0
        for number, (length, size) in enumerate(zip(segments, memory_segments, strict=True)):
            own = None
            if memory is not None:
                own = Memory(memory.hidden[:, source : source + size], ordered(size))
            alone = unit(x[:, start : start + length], ordered(length), own)
            packed = found[:, start : start + length]
            meter.equal(packed, alone, axes=OUTPUT, what=f"segment {number + 1} packed and alone")
            start, source = start + length, source + size


def _packed(lengths: tuple[int, ...], width: int) -> Tokens:
    """One row with these segments, padded on the right to `width`."""
    pos = [i for length in lengths for i in range(length)]
    segment = [number for number, length in enumerate(lengths, start=1) for _ in range(length)]
    rest = width - len(pos)
    return Tokens(torch.tensor([pos + [-1] * rest]), torch.tensor([segment + [0] * rest]))


def _packed_memory(unit: AttentionUnit, lengths: tuple[int, ...]) -> Memory | None:
    if unit.role != "cross":
        return None
    tokens = _packed(lengths, 7)
    return Memory(zero_padding(draw(1, 7, D_MODEL, seed=5), tokens.valid), tokens)


def unused(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """1e30 at padding and NaN in unused slots of a state change no bit"""
    for unit in subject.units(role):
        meter.context = unit.label
        x, tokens, memory = draw(3, 5, D_MODEL), padded(*LENGTHS), unit.memory(*SOURCES)
        loud = x.masked_fill(~tokens.valid[..., None], 1e30)
        plain, other = (unit(each, tokens, memory) for each in (zero_padding(x, tokens.valid), loud))
        _same_bits(plain, other, tokens, meter, "1e30 at padding")
        if memory is not None:
            hidden = memory.hidden.masked_fill(~memory.tokens.valid[..., None], 1e30)
            _same_bits(plain, unit(loud, tokens, Memory(hidden, memory.tokens)), tokens, meter, "1e30 in the memory")
        if role == "decoder":
            _poisoned(unit, meter)


def _same_bits(found: Tensor, expected: Tensor, tokens: Tokens, meter: DifferenceMeter, what: str) -> None:
    valid = tokens.valid[..., None]
    found, expected = (each.masked_fill(~valid, 0.0) for each in (found, expected))
    meter.equal(found, expected, axes=OUTPUT, what=what, tolerance=0)


def _poisoned(unit: AttentionUnit, meter: DifferenceMeter) -> None:
    x, outs = draw(2, 4, D_MODEL), []
    for poison in (False, True):
        state, parts = unit.begin(2, 9), []
        for i in range(4):
            if poison:
                _poison(state)
            parts.append(unit.step(x[:, i : i + 1], ordered(1, i), state))
        outs.append(torch.cat(parts, 1))
    meter.equal(outs[1], outs[0], axes=OUTPUT, what="NaN in unused places of the state", tolerance=0)


def _poison(state: DecoderState) -> None:
    """Write NaN to all unused slots of a state."""
    for pair in state.layers:
        for own in pair:
            for name, leaf in own.hypothesis.items():
                if leaf.is_floating_point():
                    used = own.used(name, leaf)
                    kept = used.clone()
                    leaf.fill_(torch.nan)
                    used.copy_(kept)
