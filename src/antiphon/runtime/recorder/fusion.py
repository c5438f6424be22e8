"""Neighbouring kernels that one kernel can do together: fewer passes over memory, and fewer calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.kernels.steps import step
from antiphon.runtime.recorder.record import Entry, memory_of

PRODUCTS = ("linear_int8", "linear_float")
# Places among a product's tensors and sizes (step.h).
WORKSPACE, RESIDUAL, OUT = 1, 5, 6
ROWS, INPUTS, STRIDE, ACTIVATION, QUANTIZED = 0, 1, 3, 5, 6
LEAST_ROWS = 8  # of a thread, where a product chooses its best at once


def joined(steps: Sequence[Entry], *, results: set[int]) -> list[Entry]:
    """The same steps, where a product does the activation or the sum behind it, and the same rows are quantized once.

    Only what nothing else reads is left out, and none of `results`.
    """
    readers = Counter(memory for entry in steps for memory in {memory_of(tensor) for tensor in entry.reads})
    readers.update(results)
    found: list[Entry] = []
    products: dict[int, KernelCall] = {}  # by the memory of what they make, until it is read
    born: dict[int, int] = {}  # the place in `found` of what made a piece of memory
    for entry in steps:
        product = _absorbing(entry, products, readers, born)
        if product is not None:
            assert isinstance(entry, KernelCall)
            products[memory_of(entry.writes[0])] = product
            born[memory_of(entry.writes[0])] = born.pop(memory_of(product.writes[0]))
            product.writes, product.held = entry.writes, (*product.held, *entry.held)
            continue
        for tensor in entry.reads:
            products.pop(memory_of(tensor), None)
        for tensor in entry.writes:
            born[memory_of(tensor)] = len(found)
        if isinstance(entry, KernelCall) and entry.name in PRODUCTS:
            products[memory_of(entry.writes[0])] = entry
        found.append(entry)
    _quantize_once(found)
    return found


def _absorbing(
    entry: Entry, products: dict[int, KernelCall], readers: Counter[int], born: dict[int, int]
) -> KernelCall | None:
    """The product that can do what `entry` does, told so; None: there is none."""
    if not isinstance(entry, KernelCall) or entry.name not in ("activate", "add"):
        return None
    candidates = []
    for place, tensor in enumerate(entry.reads):
        memory = memory_of(tensor)
        product = products.get(memory)
        if product is None or product.writes[0].numel() != tensor.numel():
            continue
        if readers[memory] == 1 and product.step.p[OUT] == entry.step.p[place]:
            candidates.append((born[memory], place, product))
    for age, place, product in sorted(candidates, reverse=True):
        if product.step.p[RESIDUAL] is not None:
            continue
        if entry.name == "activate":
            if product.step.n[ACTIVATION]:
                continue
            product.step.n[ACTIVATION] = entry.step.n[1]
        else:
            other = entry.reads[1 - place]
            if other is entry.reads[place] or born.get(memory_of(other), -1) >= age:
                continue  # it is not there yet when the product is computed
            product.step.p[RESIDUAL] = entry.step.p[1 - place]
            product.reads = (*product.reads, other)
        product.step.p[OUT] = entry.step.p[2]
        return product
    return None


def output(entries: Sequence[Entry]) -> tuple[list[Entry], KernelCall] | None:
    """Where the last two steps are a product and the choice of its best (`top`): the same with one step for the two,
    which never writes the logits; and the product, for whoever wants them. None elsewhere, and where there are too few
    rows for the threads to share."""
    if len(entries) < 2:
        return None
    product, best = entries[-2:]
    if not (isinstance(product, KernelCall) and isinstance(best, KernelCall) and product.name in PRODUCTS):
        return None
    made, logits = product.step, product.writes[0]
    plain = not made.n[ACTIVATION] and made.p[RESIDUAL] is None and not made.n[QUANTIZED]
    if best.name != "top" or best.step.p[0] != made.p[OUT] or best.step.n[1] != made.n[2] or not plain:
        return None
    readers = [entry for entry in entries if memory_of(logits) in map(memory_of, entry.reads)]
    if readers != [best] or made.n[ROWS] < LEAST_ROWS * torch.get_num_threads():
        return None
    ban, (_, values, ids) = best.reads[1], best.writes
    tensors = (*product.held[:5], ban, values, ids)  # x, workspace, packed, scales, bias
    rows, inner, outer, stride = made.n[:4]
    sizes = (rows, inner, outer, stride, int(product.name == "linear_int8"), values.shape[1], ban.numel())
    reads = (*product.reads, ban)
    return [*entries[:-2], KernelCall("output", reads, (values, ids), step("output", tensors, sizes), tensors)], product


def _quantize_once(steps: Sequence[Entry]) -> None:
    """A product of the rows that the one before it read finds them quantized."""
    last: KernelCall | None = None
    for entry in steps:
        if isinstance(entry, KernelCall) and entry.name == "linear_int8":
            if last is not None and _rows(entry) == _rows(last):
                entry.step.p[WORKSPACE], entry.step.n[QUANTIZED] = last.step.p[WORKSPACE], 1
                entry.held = (*entry.held, *last.held)
            last = entry
        if last is not None and memory_of(last.reads[0]) in map(memory_of, entry.writes):
            last = None


def _rows(product: KernelCall) -> tuple[int | None, ...]:
    made = product.step
    return made.p[0], made.n[ROWS], made.n[INPUTS], made.n[STRIDE]
