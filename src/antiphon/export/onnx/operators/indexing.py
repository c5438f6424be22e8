"""Slices, look-ups in tables, and gathers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from antiphon.export.onnx.builder import Size
from antiphon.export.onnx.lowering import Call, lowers

_END = 2**63 - 1


@lowers("slice")
def _slice(call: Call, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> str:
    start, end = 0 if start is None else start, _END if end is None else end
    if not isinstance(start, Size) and start == 0 and not isinstance(end, Size) and end == _END and step == 1:
        return call.name(x)
    ints = call.graph.ints
    return call.emit("Slice", call.name(x), call.sizes([start]), call.sizes([end]), ints(dim), ints(step))


@lowers("narrow")
def _narrow(call: Call, x: Any, dim: int, start: int, length: int) -> str:
    ints = call.graph.ints
    return call.emit("Slice", call.name(x), ints(start), ints(start + length), ints(dim), ints(1))


@lowers("select")
def _select(call: Call, x: Any, dim: int, index: Any) -> str:
    return call.emit("Gather", call.name(x), call.name(index, torch.int64), axis=dim % call.given(0).dim())


@lowers("embedding")
def _embedding(call: Call, table: Any, ids: Any, *_: Any) -> str:
    if isinstance(table, Tensor):
        return call.graph.rows_of(table, call.name(ids))
    return call.emit("Gather", call.name(table), call.name(ids), axis=0)


@lowers("index_select")
def _index_select(call: Call, x: Any, dim: int, index: Any) -> str:
    return call.emit("Gather", call.name(x), call.name(index), axis=dim)


@lowers("gather")
def _gather(call: Call, x: Any, dim: int, index: Any, **_: Any) -> str:
    return call.emit("GatherElements", call.name(x), call.name(index), axis=dim)


@lowers("index")
def _index(call: Call, x: Any, indices: Sequence[Any]) -> str:
    """`x[i, j, ...]` with tensors of whole numbers for neighbouring dimensions, and all of the others."""
    given = [i for i, index in enumerate(indices) if index is not None]
    first, count = given[0], len(given)
    sizes = call.given(0).shape[first : first + count]
    known = all(isinstance(size, int) for size in sizes)
    if given != list(range(first, first + count)) or (count > 1 and (first or not known)):
        raise ValueError("an index with a mask, or with gaps between its tensors")
    if any(_type_of(call, i) == torch.bool for i in given):
        raise ValueError("an index with a mask")
    if count == 1:
        return call.emit("Gather", call.name(x), call.name(indices[first]), axis=first)
    # One look-up in the flattened table, instead of indices that are expanded to pairs.
    flat = call.emit("Reshape", call.name(x), call.graph.ints(-1, *call.given(0).shape[count:]))
    total: str | None = None
    for i, index in enumerate(indices):
        name = call.name(index, torch.int64)
        if not isinstance(index, Tensor) or bool((index < 0).any()):
            name = call.emit("Mod", name, call.name(sizes[i], torch.int64))  # a negative index counts from the end
        stride = math.prod(sizes[i + 1 :])
        name = name if stride == 1 else call.emit("Mul", name, call.name(stride, torch.int64))
        total = name if total is None else call.emit("Add", total, name)
    assert total is not None
    return call.emit("Gather", flat, total, axis=0)


def _type_of(call: Call, i: int) -> torch.dtype:
    indices: Any = call.node.args[1]
    found = indices[i]
    return found.meta["val"].dtype
