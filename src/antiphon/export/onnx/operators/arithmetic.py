"""Arithmetic, comparisons, logic, sums over dimensions, and types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from antiphon.export.onnx.builder import KINDS, Value
from antiphon.export.onnx.lowering import Call, lowers

_PLAIN = {
    "abs": "Abs", "neg": "Neg", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "sin": "Sin",
    "cos": "Cos", "tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "erf": "Erf", "floor": "Floor",
    "ceil": "Ceil", "round": "Round", "sign": "Sign",
}  # fmt: skip
_COMPARED = {
    "eq": ("Equal", False), "ne": ("Equal", True), "lt": ("Less", False), "gt": ("Greater", False),
    "le": ("LessOrEqual", False), "ge": ("GreaterOrEqual", False),
}  # fmt: skip


def _unary(op: str) -> Any:
    return lambda call, x: call.emit(op, call.name(x, call.dtype))


def _compared(op: str, negated: bool) -> Any:
    def lowering(call: Call, left: Any, right: Any) -> str:
        dtype = torch.result_type(_typed(left), _typed(right))
        dtype = torch.int32 if dtype == torch.bool else dtype
        found = call.emit(op, call.name(left, dtype), call.name(right, dtype))
        return call.emit("Not", found) if negated else found

    return lowering


def _typed(value: Any) -> Any:
    """A stand-in with the type of a value, for PyTorch's rules of promotion. (0-dimensional tensors are numbers there;
    here their types count, which is what our networks mean.)"""
    return torch.empty(1, dtype=value.dtype) if isinstance(value, Value | Tensor) else value


for _name, _op in _PLAIN.items():
    lowers(_name)(_unary(_op))
for _name, (_op, _negated) in _COMPARED.items():
    lowers(_name)(_compared(_op, _negated))


@lowers("add", "sub", "rsub")
def _sum(call: Call, left: Any, right: Any, alpha: float = 1) -> str:
    kind = call.node.target.overloadpacket.__name__  # type: ignore[union-attr]
    if kind == "rsub":
        left, right = right, left
    names = [call.name(left, call.dtype), call.name(right, call.dtype)]
    if alpha != 1:
        names[1] = call.emit("Mul", names[1], call.name(alpha, call.dtype))
    return call.emit("Add" if kind == "add" else "Sub", *names)


@lowers("mul")
def _product(call: Call, left: Any, right: Any) -> str:
    return call.emit("Mul", call.name(left, call.dtype), call.name(right, call.dtype))


@lowers("div", "true_divide", "floor_divide")
def _quotient(call: Call, left: Any, right: Any, rounding_mode: str | None = None) -> str:
    names = [call.name(left, call.dtype), call.name(right, call.dtype)]
    down = rounding_mode == "floor" or call.node.target.overloadpacket.__name__ == "floor_divide"  # type: ignore[union-attr]
    if not down:
        return call.emit("Div", *names)
    if call.dtype.is_floating_point:
        return call.emit("Floor", call.emit("Div", *names))
    # ONNX rounds a quotient of whole numbers towards zero.
    return call.emit("Div", call.emit("Sub", names[0], call.emit("Mod", *names)), names[1])


@lowers("remainder")
def _remainder(call: Call, left: Any, right: Any) -> str:
    names = [call.name(left, call.dtype), call.name(right, call.dtype)]
    if not call.dtype.is_floating_point:
        return call.emit("Mod", *names)  # has the sign of the divisor, as in Python
    quotient = call.emit("Floor", call.emit("Div", *names))
    return call.emit("Sub", names[0], call.emit("Mul", quotient, names[1]))


@lowers("pow")
def _power(call: Call, base: Any, exponent: Any) -> str:
    name = call.name(base, call.dtype)
    if exponent == 2:
        return call.emit("Mul", name, name)
    return call.emit("Pow", name, call.name(exponent, call.dtype))


@lowers("square")
def _square(call: Call, x: Any) -> str:
    return call.emit("Mul", call.name(x), call.name(x))


@lowers("rsqrt")
def _rsqrt(call: Call, x: Any) -> str:
    return call.emit("Reciprocal", call.emit("Sqrt", call.name(x, call.dtype)))


@lowers("expm1", "log1p")
def _near_zero(call: Call, x: Any) -> str:
    one = call.name(1, call.dtype)
    if call.node.target.overloadpacket.__name__ == "expm1":  # type: ignore[union-attr]
        return call.emit("Sub", call.emit("Exp", call.name(x)), one)
    return call.emit("Log", call.emit("Add", call.name(x), one))


@lowers("clamp", "clamp_min", "clamp_max")
def _clamp(call: Call, x: Any, low: Any = None, high: Any = None, **named: Any) -> str:
    kind = call.node.target.overloadpacket.__name__  # type: ignore[union-attr]
    low, high = named.get("min", low), named.get("max", high)
    if kind == "clamp_max":
        low, high = None, low
    found = call.name(x, call.dtype)
    if low is not None:
        found = call.emit("Max", found, call.name(low, call.dtype))
    return found if high is None else call.emit("Min", found, call.name(high, call.dtype))


@lowers("minimum", "maximum")
def _extreme(call: Call, left: Any, right: Any) -> str:
    op = "Min" if call.node.target.overloadpacket.__name__ == "minimum" else "Max"  # type: ignore[union-attr]
    return call.emit(op, call.name(left, call.dtype), call.name(right, call.dtype))


@lowers("bitwise_and", "logical_and", "__and__", "bitwise_or", "logical_or", "__or__")
def _logic(call: Call, left: Any, right: Any) -> str:
    op = "And" if "and" in call.node.target.overloadpacket.__name__ else "Or"  # type: ignore[union-attr]
    return call.emit(op, call.name(left, torch.bool), call.name(right, torch.bool))


@lowers("bitwise_not", "logical_not")
def _negation(call: Call, x: Any) -> str:
    return call.emit("Not", call.name(x, torch.bool))


@lowers("where")
def _where(call: Call, condition: Any, left: Any, right: Any) -> str:
    return call.emit("Where", call.name(condition), call.name(left, call.dtype), call.name(right, call.dtype))


@lowers("masked_fill")
def _masked_fill(call: Call, x: Any, mask: Any, value: Any) -> str:
    return call.emit("Where", call.name(mask), call.name(value, call.dtype), call.name(x))


@lowers("any", "all")
def _quantified(call: Call, x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> str:
    op = "ReduceMax" if call.node.target.overloadpacket.__name__ == "any" else "ReduceMin"  # type: ignore[union-attr]
    found = _reduced(call, op, call.name(x, torch.int32), dim, keepdim)
    return call.emit("Cast", found, to=KINDS[torch.bool])


@lowers("sum", "mean", "amax", "amin")
def _reduction(
    call: Call, x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, dtype: Any = None
) -> str:
    ops = {"sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin"}
    op = ops[call.node.target.overloadpacket.__name__]  # type: ignore[union-attr]
    return _reduced(call, op, call.name(x, call.dtype), dim, keepdim)


def _reduced(call: Call, op: str, name: str, dim: int | Sequence[int] | None, keepdim: bool) -> str:
    if dim is None:
        return call.emit(op, name, keepdims=int(keepdim))
    axes = call.graph.ints(*([dim] if isinstance(dim, int) else dim))
    return call.emit(op, name, axes, keepdims=int(keepdim))


@lowers("cumsum")
def _cumsum(call: Call, x: Any, dim: int, dtype: Any = None) -> str:
    return call.emit("CumSum", call.name(x, call.dtype), call.name(torch.tensor(dim)))


@lowers("to", "_to_copy", "type_as", "contiguous", "clone", "alias", "detach", "lift_fresh_copy", "dropout")
def _same_values(call: Call, x: Any, *_: Any, **__: Any) -> str:
    return call.name(x, call.dtype)
