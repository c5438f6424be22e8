"""Weights laid out for the kernels: a copy for inference, never trained or saved.

kernels.linear(x, Packed(linear.weight, "int8"), linear.bias)
"""

from __future__ import annotations

from ctypes import c_int64, c_void_p
from typing import Literal

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from antiphon.runtime.kernels.compiler import library

Kind = Literal["float32", "int8"]


class Packed:
    """A weight (N, K) in panels: `data`, and for int8 the `scales` (N,) that its whole numbers are multiplied by."""

    def __init__(self, weight: Tensor, kind: Kind) -> None:
        found, self.kind = library(), kind
        assert found is not None
        self.outputs, self.inputs = weight.shape
        weight = weight.detach().contiguous()
        sizes = (c_int64(self.outputs), c_int64(self.inputs))
        count = getattr(found, f"packed_{_SHORT[kind]}_bytes")
        count.restype = c_int64
        # 64 bytes more, so that the first panel can begin where a line of the cache does.
        size = count(*sizes)
        whole = torch.empty(size + 64, dtype=torch.uint8)
        begin = -whole.data_ptr() % 64
        self.data = whole[begin : begin + size]
        self.scales = torch.empty(self.outputs) if kind == "int8" else None
        arguments = [c_void_p(weight.data_ptr()), *sizes, c_void_p(self.data.data_ptr())]
        if self.scales is not None:
            arguments.append(c_void_p(self.scales.data_ptr()))
        getattr(found, f"pack_{_SHORT[kind]}")(*arguments)


_SHORT = {"float32": "float", "int8": "int8"}
_packs = WeakTensorKeyDictionary()  # weight -> (its version, some of its numbers, Packed)


def packed_float(weight: Tensor, *, settled: bool) -> Packed:
    """A float32 weight, packed the first time and whenever it has changed; every time where it may be trained and is
    not `settled`, since PyTorch's fused optimizers change weights without telling (`_version` stays)."""
    if weight.requires_grad and not settled:
        return Packed(weight, "float32")
    flat = weight.detach().flatten()
    # Some numbers are looked at besides, since not every change is told.
    told, seen = 0 if weight.is_inference() else weight._version, flat[:: max(1, flat.numel() // 64)]
    found = _packs.get(weight)
    if found is None or found[0] != told or not torch.equal(found[1], seen):
        found = _packs[weight] = (told, seen.clone(), Packed(weight, "float32"))
    return found[2]


def int8_rounded(weight: Tensor) -> Tensor:
    """The weight (N, K) as int8 says it: whole numbers within ±127 times a scale a row, in the weight's type."""
    scale = (weight.abs().amax(1, keepdim=True) / 127).clamp(min=torch.finfo(weight.dtype).tiny)
    return (weight / scale).round() * scale
