"""Patches of images to the encoder's input (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1).

    embedding = PatchEmbedding(64, 256, GridSinusoidal(256), most=1024)
    x, tokens = embedding(features, tokens)     # (B, L, 64 + 2) -> (B, L, 256), and tokens with a grid

The features of a patch are its pixels, then its row and column. Shapes: B images, L patches, D features of a vector.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.errors import DataError
from antiphon.inputs.embeddings import SourceEmbedding
from antiphon.nn.grid_positions import GridPositions
from antiphon.nn.layers import type_of, zero_padding
from antiphon.nn.noise import Dropout, Noise


class PatchEmbedding(SourceEmbedding):
    """A linear layer from the `pixels` of a patch to a vector, positions, dropout; zero at padding.

    `positions` are added by row and column (`GridPositions`), or by number. `prefix_tokens` learned vectors come
    before the patches of each image, in row and column 0. `most` is the largest number of patches.
    """

    def __init__(
        self,
        pixels: int,
        d_model: int,
        positions: nn.Module,
        *,
        most: int,
        prefix_tokens: int = 0,
        dropout: float = 0.0,
        noise: Noise | None = None,
    ) -> None:
        super().__init__()
        self.project, self.positions, self.most = nn.Linear(pixels, d_model), positions, most
        # One parameter each, as published checkpoints have them.
        self.prefix = nn.ParameterList(torch.randn(1, d_model) * d_model**-0.5 for _ in range(prefix_tokens))
        self.drop = Dropout(dropout, noise or Noise())

    @property
    def d_model(self) -> int:
        return self.project.out_features

    def forward(self, features: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """features (B, L, P + 2) -> (B, L, D) and its tokens; DataError for more than `most` patches."""
        if features.shape[1] > self.most:
            raise DataError(
                f"an image must have at most {self.most} patches, but has {features.shape[1]}. Make it smaller, or "
                "raise `model.max_length`."
            )
        x = self.project(features[..., :-2].to(type_of(self.project).dtype))
        grid = features[..., -2:].round().long().masked_fill(~tokens.valid[..., None], 0)
        on_grid = isinstance(self.positions, GridPositions)
        if on_grid:
            x = self.positions(x, grid)
        if count := len(self.prefix):
            x = torch.cat([*(each.to(x.dtype).expand(len(x), -1, -1) for each in self.prefix), x], 1)
            grid = functional.pad(grid, (0, 0, count, 0))
            pos = functional.pad(torch.where(tokens.valid, tokens.pos + count, -1), (count, 0))
            pos[:, :count] = torch.arange(count, device=pos.device)
            tokens = Tokens(pos, maps=tokens.maps, in_order=tokens.in_order)
        if not on_grid:
            x = self.positions(x, tokens.pos)
        tokens = replace(tokens, grid=grid, memo={})
        return zero_padding(self.drop(x), tokens.valid), tokens
