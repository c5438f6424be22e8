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
    """Convolutions of kernel 3, one for each of `strides`, each followed by GELU.

    The first has `features` input channels; all have `d_model` output channels. Padding is read as zeros, so a row has
    the same result alone and in a batch.
    """

    def __init__(self, features: int, d_model: int, *, strides: Sequence[int]) -> None:
        super().__init__()
        self.d_model, self.strides = d_model, tuple(strides)
        widths = [features, *[d_model] * len(self.strides)]
        self.layers = nn.ModuleList(
            nn.Conv1d(width, d_model, kernel_size=3, stride=stride, padding=1)
            for width, stride in zip(widths, self.strides, strict=False)
        )

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights, in which it computes."""
        return next(self.parameters()).dtype

    def forward(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """x (B, F, M), padded on the right, -> (B, S, D) and its tokens; a stride t maps F frames to ceil(F / t)."""
        for layer, stride in zip(self.layers, self.strides, strict=True):
            x = zero_padding(x, tokens.valid).transpose(1, 2)  # (B, F, M) -> (B, M, F)
            x, tokens = functional.gelu(layer(x)).transpose(1, 2), strided(tokens, stride)
        return x, tokens


def strided(tokens: Tokens, stride: int) -> Tokens:
    """The tokens of every `stride`-th position, renumbered. Rows must be padded on the right and not packed."""
    assert tokens.segment is None and tokens.prefix is None, "convolutions do not support packed rows"
    pos = tokens.pos[:, ::stride]
    return Tokens(pos.where(pos < 0, pos // stride), maps=tokens.maps)
