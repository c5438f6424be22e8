"""Linear layers in int8 for inference on a CPU: 8-bit weights with a scale for each output; inputs quantized by row.

No calibration: scales are computed from the weights (the largest weight of an output becomes 127) and from each row of
the input (Dettmers et al. 2022, LLM.int8(), section 2.1, "vector-wise"; Bhandare et al. 2019 for translation). The
result of a row does not depend on other rows.
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
    """A linear layer (…, K) -> (…, N) with an int8 weight (N, K) and an optional bias (N,).

    Without kernels, the rounded weights are stored and multiplied in float32, and inputs are not rounded.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = None if bias is None else bias.detach()
        self.packed = Packed(weight, "int8") if library() is not None else None
        self.rounded = int8_rounded(weight.detach()) if self.packed is None else None
        self.like = torch.empty(0)  # type and device of the output

    def forward(self, x: Tensor, activation: str = "plain") -> Tensor:
        """x (…, K) -> (…, N). `activation`: one of `kernels.ACTIVATIONS`, which the kernel applies to the output."""
        if torch.is_grad_enabled() and x.requires_grad:
            raise ModelError("a quantized model answers and is not trained. Load it without `quantize`.")
        if self.packed is None:
            assert self.rounded is not None
            return functional.linear(x, self.rounded, self.bias)
        return kernels.linear(x, self.packed, self.bias, activation=activation)


def is_quantized(network: object) -> bool:
    """Whether the network has quantized weights."""
    return isinstance(network, nn.Module) and any(isinstance(module, Int8Linear) for module in network.modules())


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
    """Whether the layer has forward hooks."""
    return bool(linear._forward_hooks or linear._forward_pre_hooks)


def use_short_caches(network: nn.Module) -> None:
    """Store keys and values in 16 bits in attention layers with int8 projections, if the kernel can read them."""
    for module in network.modules():
        if isinstance(module, Attention) and isinstance(module.q, Int8Linear) and module.q.packed is not None:
            read = module.backend in ("auto", "kernel") and not module.rule.needs_logits
            module.cache_dtype = torch.float16 if read else None


def plain_linears(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """The plain linear layers of `network`, each with its parent module and its name there. Layers with hooks, and
    those of a user's own modules, whose code may read the weight, are left out."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            hooked = child._forward_hooks or child._forward_pre_hooks
            if type(child) is nn.Linear and not hooked and not is_given(child):
                yield module, name, child


def quantize_linears(network: nn.Module) -> int:
    """Replace each plain linear layer of `network` by an int8 one, in place. Returns their number."""
    count = 0
    for module, name, child in plain_linears(network):
        setattr(module, name, Int8Linear(child.weight, child.bias))
        count += 1
    use_short_caches(network)
    return count
