"""Convolutions over frames of features, for sources that are not text (Radford et al. 2022, Whisper, section 2.2).

    x, tokens = Convolutions(80, 512, strides=(1, 2))(features, tokens)     # (B, 3000, 80) -> (B, 1500, 512)

A stride changes the number of positions, so the tokens are returned too. Shapes: B rows, F frames of M
features, S positions, D features of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.nn.layers import zero_padding


class Convolutions(nn.Module):
    """Convolutions, one for each of `strides`, each followed by an activation: by default of kernel 3, and GELU.

    The first has `features` input channels; the last has `d_model` output channels, and the others have `channels`
    (None: `d_model`). `activations`: one for all, or one for each; glu halves the output (Dauphin et al. 2017);
    tanh_norm is a convolution without a bias, tanh, and `ClipNorm` (Moonshine). With `padding` there are zeros around a
    row. Padding is read as zeros, so a row has the same result alone and in a batch.
    """

    def __init__(
        self,
        features: int,
        d_model: int,
        *,
        strides: Sequence[int],
        kernels: Sequence[int] | None = None,
        channels: Sequence[int] | None = None,
        activations: Sequence[str] = ("gelu",),
        padding: bool = True,
    ) -> None:
        super().__init__()
        self.d_model, self.strides, self.padding = d_model, tuple(strides), padding
        count = len(self.strides)
        self.kernels = (3,) * count if kernels is None else tuple(kernels)
        self.activations = tuple(activations) * (count if len(activations) == 1 else 1)
        outputs = [*([d_model] * (count - 1) if channels is None else channels), d_model]
        self.layers = nn.ModuleList(
            nn.Conv1d(
                width,
                2 * out if activation == "glu" else out,
                kernel_size=kernel,
                stride=stride,
                padding=kernel // 2 if padding else 0,
                bias=activation != "tanh_norm",
            )
            for width, out, kernel, stride, activation in zip(
                [features, *outputs[:-1]], outputs, self.kernels, self.strides, self.activations, strict=True
            )
        )
        self.norms = nn.ModuleDict(
            {
                str(place): ClipNorm(out)
                for place, (out, activation) in enumerate(zip(outputs, self.activations, strict=True))
                if activation == "tanh_norm"
            }
        )

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights, in which it computes."""
        return next(self.parameters()).dtype

    def forward(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """x (B, F, M), padded on the right, -> (B, S, D) and its tokens; with `padding`, a stride t maps F frames to
        ceil(F / t), else to the number of whole kernels."""
        for place, layer in enumerate(self.layers):
            kernel, stride, activation = self.kernels[place], self.strides[place], self.activations[place]
            x = zero_padding(x, tokens.valid).transpose(1, 2)  # (B, F, M) -> (B, M, F)
            if not self.padding and x.shape[2] < kernel:  # no row has a whole kernel: one position, of padding
                missing = kernel - x.shape[2]
                x, tokens = functional.pad(x, (0, missing)), Tokens(functional.pad(tokens.pos, (0, missing), value=-1))
            x = layer(x)
            tokens = strided(tokens, stride, first=0 if self.padding else kernel - 1)
            x = functional.glu(x, dim=1) if activation == "glu" else _ACTIVATIONS[activation](x)
            x = x.transpose(1, 2)  # (B, D, S) -> (B, S, D)
            if activation == "tanh_norm":
                x = self.norms[str(place)](x, tokens.valid)
        return x, tokens


class ClipNorm(nn.Module):
    """A norm over all frames and channels of a row, then a weight and a bias for each channel: group norm with one
    group (Wu and He 2018), whose mean and variance leave padding out."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x (B, F, D), `valid` (B or 1, F): true where there is no padding."""
        x = zero_padding(x, valid)
        count = valid.sum(1).clamp(min=1)[:, None, None] * x.shape[2]
        apart = zero_padding(x - x.sum((1, 2), keepdim=True) / count, valid)
        variance = apart.square().sum((1, 2), keepdim=True) / count
        return apart * (variance + self.eps).rsqrt() * self.weight + self.bias


_ACTIVATIONS = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh_norm": torch.tanh,
}


def strided(tokens: Tokens, stride: int, *, first: int = 0) -> Tokens:
    """The tokens of every `stride`-th position from `first` on, renumbered. Rows must be padded on the right and not
    packed."""
    assert tokens.segment is None and tokens.prefix is None, "convolutions do not support packed rows"
    pos = tokens.pos[:, first::stride]
    return Tokens(pos.where(pos < 0, (pos - first) // stride), maps=tokens.maps)
