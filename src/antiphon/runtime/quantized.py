"""Linear layers in int8, for answers on a CPU: a weight of 8 bits times a scale an output, inputs rounded row by row.

No calibration: the scales are those of the weights (the largest of an output's weights is 127) and of each row as it
comes (Dettmers et al. 2022, LLM.int8(), section 2.1, "vector-wise"; Bhandare et al. 2019 for translation). A row's
result does not depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.errors import ModelError
from antiphon.nn.attention import Attention
from antiphon.nn.given import is_given
from antiphon.nn.layers import PackedLinear
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.kernels.compiler import library
from antiphon.runtime.kernels.packed import Packed, int8_rounded


class Int8Linear(PackedLinear):
    """x (…, K) by a weight (N, K) of 8 bits, plus a bias (N,). The layer that it was made of may be forgotten.

    Where there are no kernels the same weights are held and multiplied in float32, and inputs are not rounded.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = None if bias is None else bias.detach()
        self.packed = Packed(weight, "int8") if library() is not None else None
        self.rounded = int8_rounded(weight.detach()) if self.packed is None else None
        self.like = torch.empty(0)  # type and device of what it gives

    def forward(self, x: Tensor, activation: str = "plain") -> Tensor:
        """(…, N); `activation`: one of `kernels.ACTIVATIONS`, which kernels do on the way (`joins`)."""
        if torch.is_grad_enabled() and x.requires_grad:
            raise ModelError("a quantized model answers and is not trained. Load it without `quantize`.")
        if self.packed is None:
            assert self.rounded is not None
            return functional.linear(x, self.rounded, self.bias)
        return kernels.linear(x, self.packed, self.bias, activation=activation)


def project(x: Tensor, linears: Sequence[nn.Module]) -> Any:
    """The lowering of `nn.layers.project`: several int8 layers of one input x (…, K), which is quantized once."""
    if len(linears) < 2 or x.requires_grad:
        return NotImplemented
    parts = []
    for linear in linears:
        if not isinstance(linear, Int8Linear) or linear.packed is None or _hooked(linear):
            return NotImplemented
        parts.append((linear.packed, linear.bias))
    if {packed.inputs for packed, _ in parts} != {x.shape[-1]}:
        return NotImplemented
    return kernels.linears(x, parts)


def project_activated(x: Tensor, linear: nn.Module, activation: str) -> Any:
    """The lowering of `nn.layers.project_activated`: the kernel of an int8 layer applies the activation too."""
    able = isinstance(linear, Int8Linear) and linear.packed is not None and not _hooked(linear)
    if not able or activation not in kernels.ACTIVATIONS:
        return NotImplemented
    return linear(x, activation)


def _hooked(linear: nn.Module) -> bool:
    """Whether somebody looks at what the layer reads or gives."""
    return bool(linear._forward_hooks or linear._forward_pre_hooks)


def use_short_caches(network: nn.Module) -> None:
    """Keys and values of attention whose projections are int8 are stored in 16 bits, where the kernel reads them."""
    for module in network.modules():
        if isinstance(module, Attention) and isinstance(module.q, Int8Linear) and module.q.packed is not None:
            read = module.backend in ("auto", "kernel") and not module.rule.needs_logits
            module.cache_dtype = torch.float16 if read else None


def plain_linears(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """The plain linear layers of `network`, each with the module that it is a part of and its name there; one with
    hooks is not plain, nor is one of a module that a user brought, whose code may read its weight."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            hooked = child._forward_hooks or child._forward_pre_hooks
            if type(child) is nn.Linear and not hooked and not is_given(child):
                yield module, name, child


def quantize_linears(network: nn.Module) -> int:
    """Each plain linear layer of `network` becomes one in int8, in place; their number."""
    count = 0
    for module, name, child in plain_linears(network):
        setattr(module, name, Int8Linear(child.weight, child.bias))
        count += 1
    use_short_caches(network)
    return count
