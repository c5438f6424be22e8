"""The operations of PyTorch that a kernel computes instead while a step is recorded.

Each function takes the arguments of the operation and returns its result, or None where no kernel can compute it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.kernels.calls import recording_state
from antiphon.runtime.kernels.packed import packed_float


def _plain(*tensors: Tensor | None) -> bool:
    """Whether all are contiguous float32 tensors on the CPU."""
    given = [tensor for tensor in tensors if tensor is not None]
    return all(each.dtype == torch.float32 and each.device.type == "cpu" and each.is_contiguous() for each in given)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    # Packing costs more than a product saves; a parameter is packed once for many products.
    if not isinstance(weight, nn.Parameter) or not _plain(x, weight, bias) or x.numel() == 0:
        return None
    return kernels.linear(x, packed_float(weight, frozen=recording_state.frozen), bias)


def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor | None:
    fits = len(shape) == 1 and _plain(x, weight, bias) and x.numel() > 0
    return kernels.norm(x, weight, bias, kind="layer", eps=eps) if fits else None


def _rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor | None:
    fits = len(shape) == 1 and eps is not None and _plain(x, weight) and x.numel() > 0
    return kernels.norm(x, weight, None, kind="rms", eps=eps or 0.0) if fits else None


def _add(left: Tensor, right: Any, *, alpha: float = 1) -> Tensor | None:
    if alpha != 1 or not isinstance(right, Tensor) or not _plain(left, right):
        return None
    if left.shape == right.shape:
        return kernels.elementwise("add", left, right)
    # One row for all rows of `left`, as positions are.
    is_shared = left.dim() == right.dim() and right.shape[0] == 1 and left.shape[1:] == right.shape[1:]
    return kernels.add_shared(left, right) if is_shared and right.numel() > 0 else None


def _multiply(left: Tensor, right: Any) -> Tensor | None:
    if not _plain(left):
        return None
    if isinstance(right, float | int) and not isinstance(right, bool):
        return kernels.elementwise("scale", left, factor=float(right))
    if isinstance(right, Tensor) and left.shape == right.shape and _plain(right):
        return kernels.elementwise("multiply", left, right)
    return None


def _activate(kind: str) -> Callable[[Tensor], Tensor | None]:
    def run(x: Tensor) -> Tensor | None:
        return kernels.elementwise("activate", x, kind=kernels.ACTIVATIONS[kind]) if _plain(x) else None

    return run


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor | None:
    return _activate("gelu" if approximate == "none" else "gelu_tanh")(x)


def _embedding(table: Tensor, ids: Tensor, *_: Any) -> Tensor | None:
    fits = _plain(table) and ids.dtype == torch.long and ids.is_contiguous() and table.dim() == 2
    return kernels.embed(ids, table) if fits else None


def _whole(name: str) -> Callable[..., Tensor | None]:
    def run(numbers: Tensor, least: Any = None, *rest: Any, min: Any = None, max: Any = None) -> Tensor | None:
        least = min if least is None else least
        alone = type(least) is int and not rest and max is None
        fits = alone and numbers.dtype == torch.long and numbers.device.type == "cpu" and numbers.is_contiguous()
        return kernels.whole_numbers(name, numbers, least) if fits else None

    return run


LOWERED: dict[str, Callable[..., Tensor | None]] = {
    "linear": _linear,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "add": _add,
    "mul": _multiply,
    "relu": _activate("relu"),
    "gelu": _gelu,
    "silu": _activate("silu"),
    "embedding": _embedding,
    "ge": _whole("at_least"),
    "clamp": _whole("raise_to"),
}
