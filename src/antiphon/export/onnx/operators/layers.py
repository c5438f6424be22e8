"""Products, norms and activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from antiphon.export.onnx.lowering import Call, lowers


@lowers("linear")
def _linear(call: Call, x: Any, weight: Any, bias: Any = None) -> str:
    found = call.emit("MatMul", call.name(x), transposed(call, weight))
    return found if bias is None else call.emit("Add", found, call.name(bias))


def transposed(call: Call, weight: Any) -> str:
    """The transposed matrix of a linear layer: of a weight an initializer, else a node. An embedding's table that is
    the output's too is stored once, unless `graph.int8`."""
    graph = call.graph
    known = isinstance(weight, Tensor)
    if known and (id(weight) not in graph.tables or graph.int8):
        name = graph.names.get(id(weight))
        return graph.transposed(weight) if name is None else graph.transposed(weight, f"{name}.T")
    return call.emit("Transpose", call.name(weight), perm=[1, 0])


@lowers("matmul", "bmm", "mm")
def _matmul(call: Call, left: Any, right: Any) -> str:
    return call.emit("MatMul", call.name(left), call.name(right))


@lowers("einsum")
def _einsum(call: Call, equation: str, operands: Sequence[Any], **_: Any) -> str:
    return call.emit("Einsum", *[call.name(each) for each in operands], equation=equation)


@lowers("softmax", "_softmax", "log_softmax")
def _softmax(call: Call, x: Any, dim: int, *_: Any, **__: Any) -> str:
    op = "LogSoftmax" if "log" in call.node.target.overloadpacket.__name__ else "Softmax"  # type: ignore[union-attr]
    return call.emit(op, call.name(x, call.dtype), axis=dim)


@lowers("layer_norm")
def _layer_norm(call: Call, x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5,
                *_: Any) -> str:  # fmt: skip
    weight = torch.ones(tuple(shape), dtype=call.dtype) if weight is None else weight
    given = [call.name(x), call.name(weight), *([] if bias is None else [call.name(bias)])]
    return call.emit("LayerNormalization", *given, axis=-len(shape), epsilon=eps)


@lowers("rms_norm")
def _rms_norm(call: Call, x: Any, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> str:
    # The pattern that onnxruntime replaces by its fused norm. RMSNormalization itself is only in opset 23.
    eps = torch.finfo(call.dtype).eps if eps is None else eps
    name, axes = call.name(x), call.graph.ints(*range(-len(shape), 0))
    squares = call.emit("ReduceMean", call.emit("Pow", name, call.name(2.0, call.dtype)), axes, keepdims=1)
    root = call.emit("Sqrt", call.emit("Add", squares, call.name(eps, call.dtype)))
    found = call.emit("Div", name, root)
    return found if weight is None else call.emit("Mul", found, call.name(weight))


@lowers("gelu")
def _gelu(call: Call, x: Any, approximate: str = "none") -> str:
    return call.emit("Gelu", call.name(x), approximate=approximate)


@lowers("silu")
def _silu(call: Call, x: Any) -> str:
    return call.emit("Mul", call.name(x), call.emit("Sigmoid", call.name(x)))


@lowers("elu")
def _elu(call: Call, x: Any, alpha: float = 1.0, *_: Any) -> str:
    return call.emit("Elu", call.name(x), alpha=float(alpha))


@lowers("softplus")
def _softplus(call: Call, x: Any, *_: Any) -> str:
    return call.emit("Softplus", call.name(x))


@lowers("leaky_relu")
def _leaky_relu(call: Call, x: Any, negative_slope: float = 0.01) -> str:
    return call.emit("LeakyRelu", call.name(x), alpha=float(negative_slope))


@lowers("linalg_vector_norm", "norm")
def _norm(call: Call, x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> str:
    if ord != 2 or dim is None:
        raise ValueError(f"a norm of order {ord} over the dimensions {dim}")
    axes = call.graph.ints(*([dim] if isinstance(dim, int) else dim))
    return call.emit("ReduceL2", call.name(x), axes, keepdims=int(keepdim))


@lowers("conv1d")
def _conv1d(call: Call, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
            groups: int = 1) -> str:  # fmt: skip
    stride, padding, dilation = (each if isinstance(each, int) else each[0] for each in (stride, padding, dilation))
    given = [call.name(x), call.name(weight), *([] if bias is None else [call.name(bias)])]
    return call.emit("Conv", *given, strides=[stride], pads=[padding, padding], dilations=[dilation], group=groups)


@lowers("_scaled_dot_product_attention_math", "scaled_dot_product_attention")
def _sdpa(call: Call, q: Any, k: Any, v: Any, mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
          *, scale: float | None = None, **_: Any) -> str:  # fmt: skip
    if is_causal:
        raise ValueError("causal attention without a mask")
    scale = 1 / math.sqrt(call.given(0).shape[-1]) if scale is None else scale
    rank = call.given(1).dim()
    keys = call.emit("Transpose", call.name(k), perm=[*range(rank - 2), rank - 1, rank - 2])
    logits = call.emit("MatMul", call.emit("Mul", call.name(q), call.name(scale, call.dtype)), keys)
    if mask is not None:
        if call.given(3).dtype == torch.bool:
            least = call.name(torch.finfo(call.dtype).min, call.dtype)
            logits = call.emit("Where", call.name(mask), logits, least)
        else:
            logits = call.emit("Add", logits, call.name(mask, call.dtype))
    return call.emit("MatMul", call.emit("Softmax", logits, axis=-1), call.name(v))
