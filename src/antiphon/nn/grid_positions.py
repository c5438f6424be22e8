"""Positions in two dimensions, for patches of images: functions of their row and column.

    x = GridSinusoidal(256)(x, grid)            # (B, L, 256), (B, L, 2) -> (B, L, 256)

Rotary positions in two dimensions are in `positions.Rotary.grid_tables`. Shapes: B images, L patches, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.nn.positions import sinusoids


class GridPositions(nn.Module):
    """The base of modules that add to vectors (B, L, D) a function of `grid` (B or 1, L, 2), their row and column."""

    dim: int


class GridSinusoidal(GridPositions):
    """Adds sinusoids of the row to the first half of the features and of the column to the others (He et al. 2022,
    Masked Autoencoders, appendix A.1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.rows = dim, dim - dim // 2

    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        row, column = grid.unbind(-1)
        return x + torch.cat([sinusoids(row, self.rows), sinusoids(column, self.dim - self.rows)], -1).to(x.dtype)


class GridLearned(GridPositions):
    """Adds a learned vector for the row and one for the column, for `rows` and `columns` of them."""

    def __init__(self, dim: int, *, rows: int, columns: int) -> None:
        super().__init__()
        self.dim = dim
        self.row, self.column = nn.Embedding(rows, dim), nn.Embedding(columns, dim)
        for table in (self.row, self.column):
            nn.init.normal_(table.weight, std=dim**-0.5)

    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        row, column = grid.unbind(-1)
        return x + self.row(row) + self.column(column)
