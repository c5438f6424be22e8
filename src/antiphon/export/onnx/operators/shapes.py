"""Shapes: views, broadcasts, concatenation, and whole numbers that depend on a length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from antiphon.export.onnx.builder import KINDS, Size
from antiphon.export.onnx.lowering import Call, lowers


@lowers("sym_size")
def _size(call: Call, x: Any, dim: int) -> str:
    dim %= call.given(0).dim()
    return call.emit("Shape", call.name(x), start=dim, end=dim + 1)


@lowers("size_add", "size_sub", "size_mul", "size_floordiv", "size_mod", "size_neg", "size_sym_max", "size_sym_min")
def _size_arithmetic(call: Call, *given: Any) -> str:
    op = str(getattr(call.node.target, "__name__", ""))
    ops = {"add": "Add", "sub": "Sub", "mul": "Mul", "floordiv": "Div", "mod": "Mod", "neg": "Neg", "sym_max": "Max",
           "sym_min": "Min"}  # fmt: skip
    return call.emit(ops[op], *[each.name if isinstance(each, Size) else call.graph.ints(each) for each in given])


@lowers("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as")
def _view(call: Call, x: Any, *_: Any) -> str:
    return reshaped(call, call.name(x), call.given(0).shape, call.result.shape)


def reshaped(call: Call, name: str, old: Sequence[Any], new: Sequence[Any]) -> str:
    """`name` with the shape `new`, sizes as PyTorch traced them."""
    shape: list[int] = []
    for i, size in enumerate(new):
        if isinstance(size, int):
            shape.append(size)
        else:  # 0 copies the input's size; torch compares the expressions of both sizes
            shape.append(0 if i < len(old) and not isinstance(old[i], int) and _equal(old[i], size) else -1)
    if shape.count(-1) > 1:
        raise ValueError(f"a view of {tuple(old)} as {tuple(new)}")
    return call.emit("Reshape", name, call.graph.ints(*shape))


def _equal(left: Any, right: Any) -> bool:
    return left.node.expr == right.node.expr


@lowers("transpose", "permute", "t", "mT", "numpy_T", "swapaxes", "movedim")
def _permuted(call: Call, x: Any, *dims: Any) -> str:
    rank, op = call.given(0).dim(), call.node.target.overloadpacket.__name__  # type: ignore[union-attr]
    order = list(range(rank))
    if op == "permute":
        order = [dim % rank for dim in dims[0]]
    elif op == "numpy_T":
        order = order[::-1]
    elif op == "movedim":
        order.insert(dims[1] % rank, order.pop(dims[0] % rank))
    else:
        first, second = (dim % rank for dim in dims) if dims else (rank - 2, rank - 1)
        order[first], order[second] = order[second], order[first]
    return call.emit("Transpose", call.name(x), perm=order)


@lowers("unsqueeze")
def _unsqueeze(call: Call, x: Any, dim: int) -> str:
    return call.emit("Unsqueeze", call.name(x), call.graph.ints(dim % call.result.dim()))


@lowers("squeeze")
def _squeeze(call: Call, x: Any, dim: Any = None) -> str:
    shape = call.given(0).shape
    dims = range(len(shape)) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = [axis % len(shape) for axis in dims if isinstance(shape[axis], int) and shape[axis] == 1]
    return call.emit("Squeeze", call.name(x), call.graph.ints(*axes)) if axes else call.name(x)


@lowers("expand", "expand_as")
def _expand(call: Call, x: Any, target: Any, **_: Any) -> str:
    if call.node.target.overloadpacket.__name__ == "expand_as":  # type: ignore[union-attr]
        return call.emit("Expand", call.name(x), call.emit("Shape", call.name(target)))
    own = call.given(0).shape
    more = len(target) - len(own)
    sizes: list[Any] = []
    for i, (wanted, size) in enumerate(zip(target, call.result.shape, strict=True)):
        same = i >= more and not isinstance(own[i - more], int) and not isinstance(size, int)
        sizes.append(1 if same or (i >= more and own[i - more] is size) else size if isinstance(size, int) else wanted)
    if (
        len(target) == len(own)
        and all(size == 1 for size in sizes if isinstance(size, int))
        and not any(isinstance(size, Size) for size in sizes)
    ):
        return call.name(x)
    return call.emit("Expand", call.name(x), call.sizes(sizes))


@lowers("repeat")
def _repeat(call: Call, x: Any, repeats: Sequence[Any]) -> str:
    name, more = call.name(x), len(repeats) - call.given(0).dim()
    if more:
        name = call.emit("Unsqueeze", name, call.graph.ints(*range(more)))
    return call.emit("Tile", name, call.sizes(repeats))


@lowers("repeat_interleave")
def _repeat_interleave(call: Call, x: Any, repeats: int, dim: int, **_: Any) -> str:
    rank = call.given(0).dim()
    dim %= rank
    name = call.emit("Unsqueeze", call.name(x), call.graph.ints(dim + 1))
    name = call.emit("Tile", name, call.graph.ints(*[repeats if i == dim + 1 else 1 for i in range(rank + 1)]))
    size = call.result.shape[dim]
    shape = [size if i == dim and isinstance(size, int) else 0 if i < dim else -1 for i in range(dim + 1)]
    # The sizes behind `dim` move by one, so that a 0 would copy the wrong one.
    behind = [call.result.shape[i] for i in range(dim + 1, rank)]
    tail = [each if isinstance(each, int) else Size(call.emit("Shape", name, start=dim + 2 + i, end=dim + 3 + i))
            for i, each in enumerate(behind)]  # fmt: skip
    return call.emit("Reshape", name, call.sizes([*shape, *tail]))


@lowers("cat", "concat", "concatenate")
def _cat(call: Call, parts: Sequence[Any], dim: int = 0) -> str:
    return call.emit("Concat", *[call.name(part, call.dtype) for part in parts], axis=dim)


@lowers("stack")
def _stack(call: Call, parts: Sequence[Any], dim: int = 0) -> str:
    axis = dim % call.result.dim()
    names = [call.emit("Unsqueeze", call.name(part, call.dtype), call.graph.ints(axis)) for part in parts]
    return call.emit("Concat", *names, axis=axis)


@lowers("split", "split_with_sizes", "unsafe_split_with_sizes", "unsafe_split", "chunk", "tensor_split")
def _split(call: Call, x: Any, _: Any, dim: int = 0) -> list[str]:
    sizes = [part.shape[dim] for part in call.node.meta["val"]]
    if len(sizes) == 1:
        return [call.name(x)]
    if not all(isinstance(size, int) for size in sizes):
        raise ValueError("a split of a dimension without a fixed size")
    return call.graph.emit_many("Split", [call.name(x), call.graph.ints(*sizes)], len(sizes), axis=dim)


@lowers("unbind")
def _unbind(call: Call, x: Any, dim: int = 0) -> list[str]:
    count = len(call.node.meta["val"])
    return [call.emit("Gather", call.name(x), call.name(torch.tensor(i)), axis=dim) for i in range(count)]


@lowers("flip")
def _flip(call: Call, x: Any, dims: Sequence[int]) -> str:
    count, ints = len(dims), call.graph.ints
    least = -(2**63) + 1
    return call.emit("Slice", call.name(x), ints(*[-1] * count), ints(*[least] * count), ints(*dims),
                     ints(*[-1] * count))  # fmt: skip


@lowers("pad", "constant_pad_nd")
def _pad(call: Call, x: Any, pads: Sequence[int], *rest: Any) -> str:
    value = next((each for each in rest if isinstance(each, int | float) and not isinstance(each, bool)), 0)
    rank = call.given(0).dim()
    before, after = [0] * rank, [0] * rank
    for i in range(len(pads) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = pads[2 * i], pads[2 * i + 1]
    return call.emit("Pad", call.name(x), call.graph.ints(*before, *after), call.name(value, call.dtype))


@lowers("arange")
def _arange(call: Call, *limits: Any, **_: Any) -> str:
    start, end, step = (0, limits[0], 1) if len(limits) == 1 else (*limits, 1)[:3]
    return call.emit("Range", *[call.name(each, call.dtype) for each in (start, end, step)])


@lowers("full", "zeros", "ones", "new_full", "new_zeros", "new_ones", "zeros_like", "ones_like", "full_like", "empty",
        "new_empty", "empty_like")  # fmt: skip
def _filled(call: Call, *given: Any, **_: Any) -> str:
    op = call.node.target.overloadpacket.__name__  # type: ignore[union-attr]
    rest = list(given[1:]) if op.startswith("new_") else list(given)
    shape = call.emit("Shape", call.name(rest[0])) if op.endswith("_like") else call.sizes(rest[0])
    value = rest[1] if "full" in op else int("ones" in op)
    one = torch.ones((1,), dtype=torch.int64)
    found = call.emit("Expand", call.name(torch.full((1,) * len(one), value, dtype=call.dtype)), shape)
    assert call.dtype in KINDS
    return found
