"""Merges neighbouring kernels into one: fewer passes over memory and fewer calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.kernels.layout import KernelArguments
from antiphon.runtime.kernels.steps import pack
from antiphon.runtime.kernels.table import ACTIVATIONS, SIGNATURES
from antiphon.runtime.recorder.record import Entry, memory_of

PRODUCTS = ("linear_int8", "linear_float")
MIN_ROWS_PER_THREAD = 8  # from which a product selects its largest outputs itself (`output`)


def joined(steps: Sequence[Entry], *, results: set[int]) -> list[Entry]:
    """The same steps, where a product does the activation or addition after it, and equal rows are quantized once.

    A tensor is no longer written only if one entry reads it and it is not among `results` (by `memory_of`).
    """
    readers = Counter(memory for entry in steps for memory in {memory_of(tensor) for tensor in entry.reads})
    readers.update(results)
    found: list[Entry] = []
    products: dict[int, KernelCall] = {}  # by the memory of their output, until it is read
    written_at: dict[int, int] = {}  # memory -> index in `found` of the entry that writes it
    for entry in steps:
        product = _absorbing(entry, products, readers, written_at)
        if product is not None:
            assert isinstance(entry, KernelCall)
            products[memory_of(entry.writes[0])] = product
            written_at[memory_of(entry.writes[0])] = written_at.pop(memory_of(product.writes[0]))
            product.writes, product.held = entry.writes, (*product.held, *entry.held)
            continue
        for tensor in entry.reads:
            products.pop(memory_of(tensor), None)
        for tensor in entry.writes:
            written_at[memory_of(tensor)] = len(found)
        if isinstance(entry, KernelCall) and entry.name in PRODUCTS:
            products[memory_of(entry.writes[0])] = entry
        found.append(entry)
    _quantize_once(found)
    return found


def _absorbing(
    entry: Entry, products: dict[int, KernelCall], readers: Counter[int], written_at: dict[int, int]
) -> KernelCall | None:
    """The product that can do the work of `entry`, changed to do it; None where there is none."""
    if not isinstance(entry, KernelCall) or entry.name not in ("activate", "add"):
        return None
    inputs = list(zip(("left", "right"), entry.reads, strict=False))
    candidates = []
    for place, (name, tensor) in enumerate(inputs):
        memory = memory_of(tensor)
        product = products.get(memory)
        if product is None or product.writes[0].numel() != tensor.numel():
            continue
        if readers[memory] == 1 and product.pointer("out") == entry.pointer(name):
            candidates.append((written_at[memory], place, product))
    for age, place, product in sorted(candidates, reverse=True):
        if product.pointer("residual") is not None:
            continue
        if entry.name == "activate":
            if product.size("activation") != ACTIVATIONS["plain"]:
                continue
            product.set_size("activation", entry.size("activation"))
        else:
            name, other = inputs[1 - place]
            if other is entry.reads[place] or written_at.get(memory_of(other), -1) >= age:
                continue  # it is written after the product
            product.set_pointer("residual", entry.pointer(name))
            product.reads = (*product.reads, other)
        product.set_pointer("out", entry.pointer("out"))
        return product
    return None


def output(entries: Sequence[Entry]) -> tuple[list[Entry], KernelCall] | None:
    """If the last two entries are a product and `top` of its output: the entries with one kernel `output` for the two,
    which never writes the logits, and the product, for a caller that needs them. None otherwise, and with too few rows
    for the threads."""
    if len(entries) < 2:
        return None
    product, best = entries[-2:]
    if not (isinstance(product, KernelCall) and isinstance(best, KernelCall) and product.name in PRODUCTS):
        return None
    logits = product.writes[0]
    plain = product.size("activation") == ACTIVATIONS["plain"] and product.pointer("residual") is None
    if not plain or product.size("reuse_workspace") or best.name != "top":
        return None
    if best.pointer("logits") != product.pointer("out") or best.size("vocab_size") != product.size("outputs"):
        return None
    readers = [entry for entry in entries if memory_of(logits) in map(memory_of, entry.reads)]
    if readers != [best] or product.size("rows") < MIN_ROWS_PER_THREAD * torch.get_num_threads():
        return None
    return [*entries[:-2], _output_call(product, best)], product


def _output_call(product: KernelCall, top: KernelCall) -> KernelCall:
    ban, (_, values, ids) = top.reads[1], top.writes
    held = dict(zip(SIGNATURES[product.name].tensors, product.held, strict=True))
    tensors: dict[str, Tensor | None] = {
        name: held[name] for name in ("x", "workspace", "packed", "scales", "bias")
    } | {"forbidden": ban, "values": values, "ids": ids}
    sizes = {name: product.size(name) for name in ("rows", "inputs", "outputs", "x_stride")} | {
        "is_int8": int(product.name == "linear_int8"),
        "k": values.shape[1],
        "forbidden_count": ban.numel(),
    }
    arguments = KernelArguments.from_buffer_copy(pack("output", tensors=tensors, sizes=sizes))
    return KernelCall("output", (*product.reads, ban), (values, ids), arguments, tuple(tensors.values()))


def _quantize_once(steps: Sequence[Entry]) -> None:
    """A product that reads the same rows as the product before it uses that product's workspace."""
    last: KernelCall | None = None
    for entry in steps:
        if isinstance(entry, KernelCall) and entry.name == "linear_int8":
            if last is not None and _rows(entry) == _rows(last):
                entry.set_pointer("workspace", last.pointer("workspace"))
                entry.set_size("reuse_workspace", 1)
                entry.held = (*entry.held, *last.held)
            last = entry
        if last is not None and memory_of(last.reads[0]) in map(memory_of, entry.writes):
            last = None


def _rows(product: KernelCall) -> tuple[int | None, ...]:
    return product.pointer("x"), *(product.size(name) for name in ("rows", "inputs", "x_stride"))
