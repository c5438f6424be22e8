"""Convolutions over frames of features, for sources that are not text (Radford et al. 2022, Whisper, section 2.2).

    x, tokens = Convolutions(80, 512, strides=(1, 2))(features, tokens)     # (B, 3000, 80) -> (B, 1500, 512)

A stride changes how many positions there are, so that the tokens change with it. Shapes: B rows, F frames of M
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

    The first reads `features` a frame, all give `d_model`. What pads a row counts as the zeros behind its end: a row
    gives the same alone and in a batch.
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
        """The type that it computes in."""
        return next(self.parameters()).dtype

    def forward(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """x (B, F, M), padded on the right, to (B, S, D) and its tokens; each stride t leaves ceil(F / t) positions."""
        for layer, stride in zip(self.layers, self.strides, strict=True):
            x = zero_padding(x, tokens.valid).transpose(1, 2)  # (B, F, M) -> (B, M, F)
            x, tokens = functional.gelu(layer(x)).transpose(1, 2), strided(tokens, stride)
        return x, tokens


def strided(tokens: Tokens, stride: int) -> Tokens:
    """The tokens of every `stride`-th position, counted anew; rows are padded on the right and not packed."""
    assert tokens.segment is None and tokens.prefix is None, "convolutions know no segments"
    pos = tokens.pos[:, ::stride]
    return Tokens(pos.where(pos < 0, pos // stride), maps=tokens.maps)
