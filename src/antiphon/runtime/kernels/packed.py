"""Weights in the layout of the kernels: a copy for inference, never trained or saved.

kernels.linear(x, Packed(linear.weight, "int8"), linear.bias)
"""

from __future__ import annotations

from ctypes import c_int64, c_void_p
from typing import Literal

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from antiphon.runtime.kernels.compiler import library
from antiphon.runtime.kernels.table import CACHE_LINE_BYTES

Kind = Literal["float32", "int8"]

SHORT_NAMES = {"float32": "float", "int8": "int8"}  # in the names of C functions
SAMPLED_WEIGHTS = 64  # of a weight, compared to detect a change


class Packed:
    """A weight (N, K) in panels: `data`, and for int8 the `scales` (N,), by which its integers are multiplied."""

    def __init__(self, weight: Tensor, kind: Kind) -> None:
        kernels, self.kind = library(), kind
        assert kernels is not None
        self.outputs, self.inputs = weight.shape
        weight = weight.detach().contiguous()
        shape = (c_int64(self.outputs), c_int64(self.inputs))
        packed_bytes = getattr(kernels, f"packed_{SHORT_NAMES[kind]}_bytes")
        packed_bytes.restype = c_int64
        # One cache line more, so that the first panel can begin at the start of a cache line.
        size = packed_bytes(*shape)
        memory = torch.empty(size + CACHE_LINE_BYTES, dtype=torch.uint8)
        begin = -memory.data_ptr() % CACHE_LINE_BYTES
        self.data = memory[begin : begin + size]
        self.scales = torch.empty(self.outputs) if kind == "int8" else None
        arguments = [c_void_p(weight.data_ptr()), *shape, c_void_p(self.data.data_ptr())]
        if self.scales is not None:
            arguments.append(c_void_p(self.scales.data_ptr()))
        getattr(kernels, f"pack_{SHORT_NAMES[kind]}")(*arguments)


_packs = WeakTensorKeyDictionary()  # weight -> (its version, some of its numbers, Packed)


def packed_float(weight: Tensor, *, frozen: bool) -> Packed:
    """A float32 weight, packed on the first use and after each change. A weight that requires gradients and is not
    `frozen` is packed on every use, since PyTorch's fused optimizers do not increase `_version`."""
    if weight.requires_grad and not frozen:
        return Packed(weight, "float32")
    flat = weight.detach().flatten()
    # Some numbers are compared too, since not every change increases the version.
    version = 0 if weight.is_inference() else weight._version
    sample = flat[:: max(1, flat.numel() // SAMPLED_WEIGHTS)]
    found = _packs.get(weight)
    if found is None or found[0] != version or not torch.equal(found[1], sample):
        found = _packs[weight] = (version, sample.clone(), Packed(weight, "float32"))
    return found[2]


def int8_rounded(weight: Tensor) -> Tensor:
    """The weight (N, K) with the precision of int8: integers within ±127 times a scale a row, in the weight's type."""
    scale = (weight.abs().amax(1, keepdim=True) / 127).clamp(min=torch.finfo(weight.dtype).tiny)
    return (weight / scale).round() * scale
