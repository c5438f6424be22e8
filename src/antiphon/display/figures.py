"""Figures as people read them."""

from __future__ import annotations

import math


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss; less than none is none."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fixed(value: object, places: int = 3) -> str:
    """A number for a cell: integers with thousands separators, others with `places` decimals, or in powers of ten
    where these would show nothing of them; empty for None, text as it is."""
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
