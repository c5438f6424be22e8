"""Norms, projections and feed-forward networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.nn.given import is_given
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.operations import operation

_GELU_TANH = partial(functional.gelu, approximate="tanh")  # Hendrycks and Gimpel 2016, section 2
ACTIVATIONS = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": _GELU_TANH,
    "silu": functional.silu,
    "geglu": functional.gelu,
    "geglu_tanh": _GELU_TANH,
    "swiglu": functional.silu,
    "reglu": functional.relu,
}
GATED = ("geglu", "geglu_tanh", "swiglu", "reglu")


class PackedLinear(nn.Module):
    """Base of linear layers without a floating-point weight. `like` is an empty tensor with the type and device of the
    layer's computation."""

    like: Tensor
    bias: Tensor | None
    in_features: int
    out_features: int


def type_of(linear: nn.Module) -> Tensor:
    """A tensor with the type and device of a linear layer's computation."""
    return linear.like if isinstance(linear, PackedLinear) else linear.weight  # type: ignore[return-value]


@operation
def project(x: Tensor, linears: Sequence[nn.Module]) -> list[Tensor]:
    """Apply each linear layer to x. The layers may be fused into one product.

    With gradients, plain layers are fused: on a CPU, three forward products of width 256 take twice the time of one of
    width 768; the backward products gain less. Without gradients they are not: concatenating the weights would cost
    more than a decoding step saves.
    """
    plain: list[nn.Linear] = [linear for linear in linears if is_plain(linear)]
    kinds = {(linear.weight.dtype, linear.bias is None) for linear in plain}
    if len(linears) < 2 or len(plain) < len(linears) or len(kinds) > 1 or not torch.is_grad_enabled():
        return [linear(x) for linear in linears]
    biases = [linear.bias for linear in plain if linear.bias is not None]
    weight = torch.cat(tuple(linear.weight for linear in plain))
    bias = torch.cat(tuple(biases)) if biases else None
    # The results of `split` may not be changed in place, but decoding state is. Here it is safe: the parts share no
    # element, and neither the product nor the split saves its output for the gradient.
    widths = [linear.out_features for linear in plain]
    return list(torch.unsafe_split_with_sizes(functional.linear(x, weight, bias), widths, dim=-1))


def is_plain(linear: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether `linear` computes just x·Wᵀ + b: it is no adapter, has no hooks and is not quantized."""
    hooks = (
        linear._forward_hooks,
        linear._forward_pre_hooks,
        linear._backward_hooks,
        linear._backward_pre_hooks,
    )
    return type(linear) is nn.Linear and "forward" not in vars(linear) and not any(hooks)


def project_wide(x: Tensor, linears: Sequence[nn.Module]) -> list[Tensor]:
    """As `project`, but in float32 or wider, also under autocast, so that the results are not rounded to 16 bits.

    A layer that is not plain (an adapter, hooks, int8) computes in its own type.
    """
    found = []
    for linear in linears:
        if not is_plain(linear):
            out = linear(x)
            found.append(out.to(torch.promote_types(out.dtype, torch.float32)))
            continue
        kind = torch.promote_types(linear.weight.dtype, torch.float32)
        bias = None if linear.bias is None else linear.bias.to(kind)
        with torch.autocast(x.device.type, enabled=False):
            found.append(functional.linear(x.to(kind), linear.weight.to(kind), bias))
    return found


def norm(kind: str, dim: int, *, eps: float | None = None, bias: bool = True) -> nn.Module:
    """`layer` (Ba et al. 2016), with or without a `bias`, or `rms` (Zhang and Sennrich 2019); `eps` None is 1e-5 or
    1e-6."""
    return nn.LayerNorm(dim, eps=eps or 1e-5, bias=bias) if kind == "layer" else nn.RMSNorm(dim, eps=eps or 1e-6)


class FeedForward(nn.Module):
    """Position-wise feed-forward network (Vaswani et al. 2017, eq. 2); gated: Shazeer 2020, GLU Variants, eq. 6."""

    def __init__(
        self, d_model: int, ffn_dim: int, *, activation: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        super().__init__()
        self.kind, self.activation = activation, ACTIVATIONS[activation]
        self.up = nn.Linear(d_model, ffn_dim, bias=bias)
        self.gate = nn.Linear(d_model, ffn_dim, bias=bias) if activation in GATED else None
        self.down = nn.Linear(ffn_dim, d_model, bias=bias)
        self.drop = Dropout(dropout, noise)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            hidden = project_activated(x, self.up, self.kind)
        else:
            up, gate = project(x, [self.up, self.gate])
            hidden = self.activation(gate) * up
        return self.down(self.drop(hidden))


@operation
def project_activated(x: Tensor, linear: nn.Module, activation: str) -> Tensor:
    """x (…, K) under a linear layer and an activation, a name in ACTIVATIONS that is not gated: (…, N)."""
    return ACTIVATIONS[activation](linear(x))


def capped(logits: Tensor, cap: float) -> Tensor:
    """cap · tanh(logits / cap): within ±cap, and near the logits where they are small (Gemma 2, section 2)."""
    return torch.tanh(logits / cap) * cap


@operation
def zero_padding(x: Tensor, valid: Tensor) -> Tensor:
    """x (B, L, D), set to zero where `valid` (B or 1, L) is false, so that padding is not part of any sum."""
    return x.masked_fill(~valid[..., None], 0.0)


def initialize(module: nn.Module) -> None:
    """Initialize linear weights (uniform, Glorot and Bengio 2010) and biases (zero), except in a user's own modules."""
    if isinstance(module, nn.Linear) and not is_given(module):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
