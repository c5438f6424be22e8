"""Absolute positions, added to the embeddings, and rotary positions, applied to queries and keys.

All are functions of `pos` (B or 1, L), so that padding on either side, packed segments and cached steps give the same
values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.nn.operations import operation

ROTARY_BASE = 10000.0  # Su et al. 2021, section 3.2.2


def sinusoids(pos: Tensor, dim: int) -> Tensor:
    """Sine and cosine of `pos` at geometric frequencies, (B or 1, L, dim), float32 (Vaswani et al. 2017, section 3.5).

    Even features are sines and odd ones cosines, as in the paper.
    """
    angle = pos.clamp(min=0).float()[..., None] * inverse_frequencies(dim, 10000.0, pos.device)  # (B, L, dim / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)[..., :dim]


def sinusoids_in_halves(pos: Tensor, dim: int, *, closed: bool = False) -> Tensor:
    """The same values, all sines before all cosines, as Marian (Junczys-Dowmunt et al. 2018) orders them.

    (B or 1, L, dim), computed in float64 if the device has it, as in published checkpoints. `closed`: the lowest
    frequency is 1/10000 itself (fairseq; Ott et al. 2019), not the one before it; dim must be even.
    """
    wide = torch.float32 if pos.device.type == "mps" else torch.float64
    exponents = torch.arange(0, dim, 2, device=pos.device, dtype=wide) / (dim - 2 if closed and dim > 2 else dim)
    angle = pos.clamp(min=0).to(wide)[..., None] * 10000.0**-exponents  # (B, L, dim / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[..., :dim]


def inverse_frequencies(dim: int, base: float, device: torch.device) -> Tensor:
    """base ** (-2 i / dim) for i = 0 … ceil(dim / 2) - 1."""
    # A quotient, as published checkpoints were trained: the last bit of a frequency matters at large positions.
    return 1.0 / base ** (torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)


SINUSOIDS = {
    "interleaved": sinusoids,
    "halves": sinusoids_in_halves,
    "closed_halves": partial(sinusoids_in_halves, closed=True),
}


@operation
def by_position(compute: Callable[[Tensor], Tensor], pos: Tensor) -> Tensor:
    """`compute` of positions (B or 1, L): (B or 1, L, n), where each vector depends on its own position only."""
    return compute(pos)


class Sinusoidal(nn.Module):
    """Adds fixed sinusoids to embeddings (B, L, D); `layout` is a name in `SINUSOIDS`, `interleaved` as in the paper.

    The first position is number `offset`.
    """

    def __init__(self, dim: int, *, layout: str = "interleaved", offset: int = 0) -> None:
        super().__init__()
        self.dim, self.layout, self.offset = dim, layout, offset
        self.values = SINUSOIDS[layout]

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + by_position(lambda pos: self.values(pos.clamp(min=0) + self.offset, self.dim).to(x.dtype), pos)


class Learned(nn.Module):
    """Adds a learned vector for each position below `max_length` (Gehring et al. 2017, section 3.1).

    The first position's vector is row `offset` of the table.
    """

    def __init__(self, dim: int, *, max_length: int, offset: int = 0) -> None:
        super().__init__()
        self.dim, self.offset = dim, offset
        self.table = nn.Embedding(max_length + offset, dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        pos = pos.clamp(min=0)
        return x + self.table(pos + self.offset if self.offset else pos)


class Fixed(nn.Module):
    """Adds a vector for each position below `max_length`, from a table that is saved with the weights but not trained:
    sinusoids in `layout`, unless a file has other values."""

    table: Tensor

    def __init__(self, dim: int, *, max_length: int, layout: str) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("table", SINUSOIDS[layout](torch.arange(max_length)[None], dim)[0].float())

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + self.table[pos.clamp(min=0)]


class NoPositions(nn.Module):
    """Adds nothing. Positions may come from a score rule or from rotary attention."""

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        return x


class Rotary(nn.Module):
    """Rotates pairs of features of queries and keys by an angle proportional to position (Su et al. 2021, RoFormer, eq.
    34).

    The pairs are (i, i + D/2), "half-split", the layout of most published checkpoints, rather than the paper's (2i, 2i
    + 1). Frequencies are divided by `factor`. Only the first pairs turn, with the frequencies of a head of `width`
    features; None: all.
    """

    def __init__(
        self, head_dim: int, *, base: float = ROTARY_BASE, factor: float = 1.0, width: int | None = None
    ) -> None:
        super().__init__()
        self.head_dim, self.base, self.factor, self.width = head_dim, base, factor, width

    def tables(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for `pos` (B or 1, L): each (B or 1, 1, L, D/2), float32."""
        cos, sin = by_position(self._cosines_and_sines, pos)[:, None].chunk(2, dim=-1)
        return cos, sin

    def grid_tables(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """The same for rows and columns `grid` (B or 1, L, 2): the pairs turn by row and by column in turn, so that
        each has half of the pairs, from high frequencies to low ones (Agrawal et al. 2024, Pixtral 12B, section 2.2).

        ConfigError for less than two pairs.
        """
        if self.head_dim < 4:
            raise ConfigError(
                "a head must have at least 4 features for rotary positions of rows and columns, but has "
                f"{self.head_dim}. Raise `model.head_dim`, or choose other positions."
            )
        frequencies = self._frequencies(grid.device)
        axis = torch.arange(len(frequencies), device=grid.device) % 2
        angle = (grid.float()[..., axis] * frequencies)[:, None]  # (B, 1, L, D/2)
        return angle.cos(), angle.sin()

    def _cosines_and_sines(self, pos: Tensor) -> Tensor:
        """(B or 1, L, D)"""
        angle = pos.clamp(min=0).float()[..., None] * self._frequencies(pos.device)
        return torch.cat([angle.cos(), angle.sin()], dim=-1)

    def _frequencies(self, device: torch.device) -> Tensor:
        """Of each pair, (D/2,)."""
        frequencies = inverse_frequencies(self.width or self.head_dim, self.base, device) / self.factor
        if self.width is None:
            return frequencies
        return torch.nn.functional.pad(frequencies, (0, self.head_dim // 2 - len(frequencies)))  # zero turns nothing

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        """Rotate x (B, H, L, D)."""
        return rotate(x, *tables)


@operation
def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair of features (i, i + D/2) of x (B, H, L, D); cos and sin are (B or 1, 1, L, D/2)."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)
