"""Rotary positions as a rule, so that layers may differ in them."""

from __future__ import annotations

from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.nn.positions import ROTARY_BASE, Rotary
from antiphon.nn.rules.rule import ScoreRule
from antiphon.nn.rules.settings import positive
from antiphon.registry import register


@register("attention", "rotary")
class RotaryPositions(ScoreRule):
    """Rotary positions (Su et al. 2021, eq. 34) with a base of its own; no effect in cross-attention, where positions
    of two sequences would be compared.

    A list of attentions gives local layers a small base and global ones a large one (Gemma Team 2025, Gemma 3, section
    2): `[{all: [{window: 512}, rotary]}, {rotary: 1000000}]` with `positions: none`. Positions are divided by `factor`
    (Chen et al. 2023, Position Interpolation, eq. 4).
    """

    additive = True

    def __init__(self, base: float = ROTARY_BASE, *, factor: float = 1.0) -> None:
        super().__init__()
        self.base, self.factor = positive("base", base), positive("factor", factor)
        self.rotary: Rotary | None = None

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        if head_dim % 2:
            raise ConfigError(
                f"`head_dim` must be even under `rotary`, which turns pairs of features, but is {head_dim}. Change it."
            )
        self.rotary = None if role == "cross" else Rotary(head_dim, base=self.base, factor=self.factor)

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        return self._turned(q, pos)

    def prepare_k(self, k: Tensor, pos: Tensor) -> Tensor:
        return self._turned(k, pos)

    def _turned(self, x: Tensor, pos: Tensor) -> Tensor:
        """x (B, H, L, D) at `pos` (B or 1, 1, L, 1)"""
        return x if self.rotary is None else self.rotary(x, self.rotary.tables(pos[:, 0, :, 0]))
