"""Which operations of a recorded step work row by row, so that for fewer rows they have less to do.

A piece of memory is of rows if it is known to hold one row after the other: inputs whose first dimension counts rows,
and what is computed of such memory, read in that order, with as many rows. What was put into another order once, heads
before rows say, stays whole, whatever number its first dimension happens to have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from torch import Tensor

from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.recorder.record import Entry, memory_of


def by_rows(entries: Sequence[Entry], inputs: Iterable[Tensor], rows: Collection[int]) -> set[int]:
    """The `id`s of the kernels that may be run for the first rows alone; `rows` are what counts rows."""
    ordered = {memory_of(tensor) for tensor in inputs if tensor.shape[0] in rows}
    mixed: set[int] = set()
    found: set[int] = set()
    for entry in entries:
        of_rows = [tensor for tensor in entry.reads if memory_of(tensor) in ordered]
        written = {memory_of(tensor) for tensor in entry.writes}
        whole = any(memory_of(tensor) in mixed for tensor in entry.reads) or not all(map(_in_order, of_rows))
        if whole or not (isinstance(entry, KernelCall) or _keeps(entry.writes, of_rows)):
            if whole or of_rows:
                mixed |= written - ordered
            continue
        if of_rows:
            ordered |= written
            found |= {id(entry)} if isinstance(entry, KernelCall) else set()
    return found


def _in_order(tensor: Tensor) -> bool:
    """Whether one index of the first dimension lies behind the other, as rows do."""
    return all(tensor.stride(0) >= step for size, step in zip(tensor.shape, tensor.stride(), strict=True) if size > 1)


def _keeps(writes: Sequence[Tensor], reads: Sequence[Tensor]) -> bool:
    """Whether what an operation of PyTorch's makes has as many rows as what it reads, in order."""
    sizes = {tensor.shape[0] for tensor in reads}
    return all(tensor.dim() > 0 and {tensor.shape[0]} == sizes and _in_order(tensor) for tensor in writes)
