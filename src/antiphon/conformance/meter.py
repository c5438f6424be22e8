"""How two computations of one thing are compared: the largest difference between them, and where it is.

meter.equal(left_padded, plain, axes=("row", "query position", "feature"), what="padding on the left")
meter.difference, meter.where        # 3.1e-16, "padding on the left, row 0, query position 2, feature 5"
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TOLERANCE = 1e-9  # of the largest number compared, in float64: rounding stays below, any fault of logic above
OUTPUT = ("row", "query position", "feature")


class Skip(Exception):
    """A law says nothing about this attention; the text tells why."""


class DifferenceMeter:
    """Keeps the worst of the comparisons of one law: of all their differences, the largest beside its tolerance.

    `context` stands before the place in messages, where a law is checked in several settings.
    """

    def __init__(self) -> None:
        self.difference, self.where, self.context = 0.0, "", ""
        self._excess = -1.0

    @property
    def broken(self) -> bool:
        """Whether some difference was above its tolerance."""
        return self._excess > 1

    def equal(
        self, found: Tensor, expected: Tensor, *, axes: Sequence[str], what: str, tolerance: float = TOLERANCE
    ) -> None:
        """Both tensors must be equal up to `tolerance` (0: bit by bit); `axes` names their dimensions in messages."""
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
        """Every number must be finite."""
        bad = ~found.detach().isfinite()
        if bool(bad.any()):
            self.fail(f"{what} is not finite{_place(int(bad.int().argmax()), bad, axes)}")

    def holds(self, found: Tensor, *, axes: Sequence[str], what: str) -> None:
        """Every entry of a bool tensor must be true."""
        if not bool(found.all()):
            self.fail(f"{what}{_place(int((~found).int().argmax()), found, axes)}")

    def fail(self, what: str) -> None:
        """The law is broken, by more than a number can say."""
        self.within(math.inf, 0.0, where=what)

    def within(self, difference: float, bound: float, *, where: str) -> None:
        """A difference that was measured must not be above `bound`."""
        excess = difference / bound if bound else (math.inf if difference else 0.0)
        if excess > self._excess:
            self._excess, self.difference = excess, difference
            self.where = f"{self.context}: {where}" if self.context else where


def _place(place: int, table: Tensor, axes: Sequence[str]) -> str:
    """Where entry number `place` of a table stands, by the names of its dimensions."""
    index = torch.unravel_index(torch.tensor(place), table.shape)
    return "".join(f", {axis} {int(i)}" for axis, i in zip(axes, index, strict=True))
