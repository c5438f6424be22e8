"""Comparison of two computations of the same result: the largest difference and its location.

meter.equal(left_padded, plain, axes=("row", "query position", "feature"), what="padding on the left")
meter.difference, meter.where        # 3.1e-16, "padding on the left, row 0, query position 2, feature 5"
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TOLERANCE = 1e-9  # relative to the largest number, in float64: above rounding errors, below errors of logic
OUTPUT = ("row", "query position", "feature")


class Skip(Exception):
    """Raised if a law does not apply to an attention; the message is the reason."""


class DifferenceMeter:
    """Records the worst comparison of a law: the largest difference relative to its tolerance.

    `context` is put before the location in messages, for laws that are checked in several settings.
    """

    def __init__(self) -> None:
        self.difference, self.where, self.context = 0.0, "", ""
        self._excess = -1.0

    @property
    def broken(self) -> bool:
        """Whether any difference was above its tolerance."""
        return self._excess > 1

    def equal(
        self, found: Tensor, expected: Tensor, *, axes: Sequence[str], what: str, tolerance: float = TOLERANCE
    ) -> None:
        """Require that both tensors are equal up to `tolerance` (0: bit by bit); `axes` names their dimensions."""
        if found.shape != expected.shape:
            self.fail(f"{what} (the shape is {tuple(found.shape)} instead of {tuple(expected.shape)})")
            return
        if found.numel() == 0:
            return
        found, expected = found.detach().double(), expected.detach().double()
        gap = (found - expected).abs().masked_fill(found == expected, 0.0).nan_to_num(math.inf, math.inf)
        place = int(gap.argmax())
        size = float(expected.abs().nan_to_num(0.0, 0.0).max())
        bound = tolerance * max(1.0, size)
        self.within(float(gap.flatten()[place]), bound, where=f"{what}{_place(place, gap, axes)}")

    def finite(self, found: Tensor, *, axes: Sequence[str], what: str) -> None:
        """Require that every number is finite."""
        bad = ~found.detach().isfinite()
        if bool(bad.any()):
            self.fail(f"{what} is not finite{_place(int(bad.int().argmax()), bad, axes)}")

    def holds(self, found: Tensor, *, axes: Sequence[str], what: str) -> None:
        """Require that every entry of a bool tensor is true."""
        if not bool(found.all()):
            self.fail(f"{what}{_place(int((~found).int().argmax()), found, axes)}")

    def fail(self, what: str) -> None:
        """Mark the law as broken, without a difference."""
        self.within(math.inf, 0.0, where=what)

    def within(self, difference: float, bound: float, *, where: str) -> None:
        """Require that a measured difference is at most `bound`."""
        excess = difference / bound if bound else (math.inf if difference else 0.0)
        if excess > self._excess:
            self._excess, self.difference = excess, difference
            self.where = f"{self.context}: {where}" if self.context else where


def _place(place: int, table: Tensor, axes: Sequence[str]) -> str:
    """The location of the flat index `place` in a table, with the names of its dimensions."""
    index = torch.unravel_index(torch.tensor(place), table.shape)
    return "".join(f", {axis} {int(i)}" for axis, i in zip(axes, index, strict=True))
