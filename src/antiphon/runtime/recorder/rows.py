"""Finds the operations of a recorded step that work row by row, so that they can be run for fewer rows.

A piece of memory is ordered by rows if it is an input whose first dimension counts rows, or computed from such memory
in that order and with as many rows. Memory in another order, for example heads before rows, is always computed whole,
even if its first dimension has the same size by chance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from torch import Tensor

from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.recorder.record import Entry, memory_of


def by_rows(entries: Sequence[Entry], inputs: Iterable[Tensor], rows: Collection[int]) -> set[int]:
    """The `id`s of the kernels that may be run for the first rows alone. `rows`: the sizes of a first dimension that
    counts rows."""
    ordered = {memory_of(tensor) for tensor in inputs if tensor.shape[0] in rows}
    mixed: set[int] = set()
    found: set[int] = set()
    for entry in entries:
        of_rows = [tensor for tensor in entry.reads if memory_of(tensor) in ordered]
        written = {memory_of(tensor) for tensor in entry.writes}
        whole = any(memory_of(tensor) in mixed for tensor in entry.reads) or not all(map(_in_order, of_rows))
        if whole or not (isinstance(entry, KernelCall) or _preserves_rows(entry.writes, of_rows)):
            if whole or of_rows:
                mixed |= written - ordered
            continue
        if of_rows:
            ordered |= written
            found |= {id(entry)} if isinstance(entry, KernelCall) else set()
    return found


def _in_order(tensor: Tensor) -> bool:
    """Whether the first dimension has the largest stride."""
    return all(tensor.stride(0) >= step for size, step in zip(tensor.shape, tensor.stride(), strict=True) if size > 1)


def _preserves_rows(writes: Sequence[Tensor], reads: Sequence[Tensor]) -> bool:
    """Whether the results of a PyTorch operation have as many rows as its inputs, in order."""
    sizes = {tensor.shape[0] for tensor in reads}
    return all(tensor.dim() > 0 and {tensor.shape[0]} == sizes and _in_order(tensor) for tensor in writes)
