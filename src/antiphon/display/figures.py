"""Formatting of figures for display."""

from __future__ import annotations

import math


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss; negative values are shown as 0."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fixed(value: object, places: int = 3) -> str:
    """Format a cell: integers with thousands separators, other numbers with `places` decimals or in scientific notation
    if they are too small for that; None is empty, texts are unchanged."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return f"{value:g}"
    small = value != 0 and abs(value) < 10**-places
    return f"{value:.2e}" if small or abs(value) >= 1e9 else f"{value:,.{places}f}"
