"""Neighbouring kernels that one kernel can do together: fewer passes over memory, and fewer calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from antiphon.nn.native.kernels import Kernel
from antiphon.nn.native.record import Entry, memory_of

PRODUCTS = ("linear_int8", "linear_float")
# Places among a product's tensors and sizes (step.h).
WORKSPACE, RESIDUAL, OUT = 1, 5, 6
ROWS, INPUTS, STRIDE, ACTIVATION, QUANTIZED = 0, 1, 3, 5, 6


def joined(steps: Sequence[Entry], *, results: set[int]) -> list[Entry]:
    """The same steps, where a product does the activation or the sum behind it, and the same rows are quantized once.

    Only what nothing else reads is left out, and none of `results`.
    """
    readers = Counter(memory for entry in steps for memory in {memory_of(tensor) for tensor in entry.reads})
    readers.update(results)
    found: list[Entry] = []
    products: dict[int, Kernel] = {}  # by the memory of what they make, until it is read
    born: dict[int, int] = {}  # the place in `found` of what made a piece of memory
    for entry in steps:
        product = _absorbing(entry, products, readers, born)
        if product is not None:
            assert isinstance(entry, Kernel)
            products[memory_of(entry.writes[0])] = product
            born[memory_of(entry.writes[0])] = born.pop(memory_of(product.writes[0]))
            product.writes, product.held = entry.writes, (*product.held, *entry.held)
            continue
        for tensor in entry.reads:
            products.pop(memory_of(tensor), None)
        for tensor in entry.writes:
            born[memory_of(tensor)] = len(found)
        if isinstance(entry, Kernel) and entry.name in PRODUCTS:
            products[memory_of(entry.writes[0])] = entry
        found.append(entry)
    _quantize_once(found)
    return found


def _absorbing(entry: Entry, products: dict[int, Kernel], readers: Counter[int], born: dict[int, int]) -> Kernel | None:
    """The product that can do what `entry` does, told so; None: there is none."""
    if not isinstance(entry, Kernel) or entry.name not in ("activate", "add"):
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


def _quantize_once(steps: Sequence[Entry]) -> None:
    """A product of the rows that the one before it read finds them quantized."""
    last: Kernel | None = None
    for entry in steps:
        if isinstance(entry, Kernel) and entry.name == "linear_int8":
            if last is not None and _rows(entry) == _rows(last):
                entry.step.p[WORKSPACE], entry.step.n[QUANTIZED] = last.step.p[WORKSPACE], 1
                entry.held = (*entry.held, *last.held)
            last = entry
        if last is not None and memory_of(last.reads[0]) in map(memory_of, entry.writes):
            last = None


def _rows(product: Kernel) -> tuple[int | None, ...]:
    made = product.step
    return made.p[0], made.n[ROWS], made.n[INPUTS], made.n[STRIDE]
