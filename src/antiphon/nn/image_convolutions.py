"""Convolutions over the pixels of an image of fixed height and any width, such as a line of text.

    front = ImageConvolutions(1, 48, 256, widths=(32, 64), strides=((2, 2), (2, 2)))
    x, tokens = front(features, tokens)         # (B, 400, 48) -> (B, 100, 256)

A frame of features is a column of pixels, so an image is read like sound: padded on the right, and strided along its
width. Without `fold_height` each column of the result is several positions, from top to bottom (Xiao et al. 2021,
"Early Convolutions Help Transformers See Better").

Shapes: B images, W columns of H pixels in C channels, S positions, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.nn.convolutions import strided
from antiphon.nn.layers import type_of


class ImageConvolutions(nn.Module):
    """Convolutions of kernel 3 by 3 with `widths` output channels and `strides` over rows and columns, each followed by
    GELU, then a linear layer to a vector: from each column of the result, or, without `fold_height`, from each place.

    Padding is read as zeros, so an image has the same result alone and in a batch.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        d_model: int,
        *,
        widths: Sequence[int],
        strides: Sequence[tuple[int, int]],
        fold_height: bool = True,
    ) -> None:
        super().__init__()
        self.d_model, self.channels, self.height, self.strides = d_model, channels, height, tuple(strides)
        inputs = [channels, *widths]
        self.layers = nn.ModuleList(
            nn.Conv2d(inner, outer, kernel_size=3, stride=stride, padding=1)
            for inner, outer, stride in zip(inputs, widths, self.strides, strict=False)
        )
        for rows, _ in self.strides:
            height = -(-height // rows)
        self.rows, self.fold_height = height, fold_height
        self.project = nn.Linear(widths[-1] * (height if fold_height else 1), d_model)
        self._initialize()

    def _initialize(self) -> None:
        """Weights with which the result varies about as much as the pixels do (He et al. 2015, section 2.2). With the
        defaults of PyTorch each layer makes it several times smaller, and positions drown it."""
        for name, parameter in self.layers.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        nn.init.normal_(self.project.weight, std=self.project.in_features**-0.5)
        nn.init.zeros_(self.project.bias)

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights, in which it computes."""
        return type_of(self.project).dtype

    def forward(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """x (B, W, C·H), padded on the right, -> (B, S, D) and its tokens, with a grid where the height is not folded;
        a stride t maps W columns to ceil(W / t)."""
        x = x.view(*x.shape[:2], self.channels, self.height).permute(0, 2, 3, 1)  # (B, W, C·H) -> (B, C, H, W)
        for layer, (_, stride) in zip(self.layers, self.strides, strict=True):
            x = x.masked_fill(~tokens.valid[:, None, None, :], 0.0)
            x, tokens = functional.gelu(layer(x)), strided(tokens, stride)
        if self.fold_height:
            x = x.permute(0, 3, 1, 2).flatten(2)  # (B, C, H, S) -> (B, S, C·H)
            return self.project(x), tokens
        x = x.permute(0, 3, 2, 1).flatten(1, 2)  # (B, C, H, S) -> (B, S·H, C)
        return self.project(x), _by_place(tokens, self.rows)


def _by_place(tokens: Tokens, rows: int) -> Tokens:
    """The tokens of columns as those of their `rows` places, column by column, so that padding stays at the end."""
    column = tokens.pos.repeat_interleave(rows, 1)
    row = torch.arange(rows, device=column.device).repeat(tokens.pos.shape[1]).expand_as(column)
    real = column >= 0
    grid = torch.stack([row, column], -1).where(real[..., None], 0)
    return replace(tokens, pos=(column * rows + row).where(real, -1), grid=grid, memo={})
