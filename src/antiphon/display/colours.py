"""The colours of all drawings."""

from __future__ import annotations

LIGHT, DARK = (0xFF, 0xFF, 0xFF), (0x0B, 0x3C, 0x8C)  # for weight 0 and for the largest weight

# Curves, bars and verdicts: each has a contrast of at least 3 with white and with near-black (WCAG 2.2, 1.4.11).
CURVES = ("#3b82d6", "#d9732f", "#2b9a5e", "#9b66d0", "#c2548c", "#7d8590")
GOOD, BAD, NEUTRAL = "#2b9a5e", "#dc4b4b", "#7d8590"


def shade(share: float) -> tuple[int, int, int]:
    """The colour of a weight as a fraction (0..1) of the largest one, as red, green and blue in 0..255."""
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (round(light + (dark - light) * share) for light, dark in zip(LIGHT, DARK, strict=True))
    return red, green, blue


def code_of(colour: tuple[int, int, int]) -> str:
    """`#rrggbb` of red, green and blue in 0..255."""
    return "#" + "".join(f"{part:02x}" for part in colour)
