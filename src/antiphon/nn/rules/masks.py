"""Score rules that hide keys."""

from __future__ import annotations

from torch import Tensor

from antiphon.nn.rules.rule import ScoreRule
from antiphon.registry import register


@register("attention", "window")
class Window(ScoreRule):
    """A query sees the keys less than `window` positions away; under a causal mask, to the left.

    Beltagy et al. 2020, Longformer, section 3.1.
    """

    additive = True

    def __init__(self, window: int) -> None:
        super().__init__()
        if not isinstance(window, int) or window < 1:
            raise ValueError(
                f"`window` must be a whole number of at least 1, but is {window!r}. With 1, a token sees itself"
            )
        self.window = window
        self.reach = (window - 1, window - 1, 0)

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return (q_pos - k_pos).abs() < self.window
