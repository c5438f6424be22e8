"""Values with their intervals on one axis, a row each, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from antiphon.display.html import Markup, escaped

WIDTH, ROW, TOP, BOTTOM, RIGHT = 440, 26, 26, 24, 14
MAX_LABEL = 34  # characters
_LETTER = 6.4  # width of a character in the font below
_FONT = 'font-family="system-ui,sans-serif" font-size="12" fill="currentColor"'


class IntervalRow(NamedTuple):
    """A value with its interval, if there is one."""

    label: str
    value: float
    interval: tuple[float, float] | None
    colour: str


def interval_chart(rows: Sequence[IntervalRow], *, title: str, zero: bool = False) -> Markup:
    """A dot for each value and a line for its interval, with `title` above; `zero`: the axis has 0, with a line."""
    ends = [end for row in rows for end in (row.value, *(row.interval or ()))] + ([0.0] if zero else [])
    low, high = min(ends), max(ends)
    air = (high - low) * 0.06 or 1.0
    low, high = low - air, high + air
    left = 12 + _LETTER * max(min(len(row.label), MAX_LABEL) for row in rows)
    height = TOP + ROW * len(rows) + BOTTOM

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - RIGHT - left)

    inside = [_text(0, 14, title, weight=600), *_axis(place, low, high, height, zero=zero)]
    for number, row in enumerate(rows):
        inside += _row(row, TOP + ROW * number + ROW / 2, place, left)
    said = "; ".join(f"{row.label} {row.value:.2f}{_range(row)}" for row in rows)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escaped(f"{title}: {said}")}" '
        f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" style="max-width:100%;height:auto">'
        f"{''.join(inside)}</svg>"
    )


def _axis(place: Callable[[float], float], low: float, high: float, height: float, *, zero: bool) -> Iterator[str]:
    bottom = height - BOTTOM
    for value in _ticks(low, high):
        x, strong = place(value), zero and abs(value) < 1e-12
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="currentColor" '
            f'stroke-opacity="{".8" if strong else ".18"}"/>'
        )
        yield _text(x, height - 6, f"{value:.4g}", anchor="middle")


def _row(row: IntervalRow, y: float, place: Callable[[float], float], left: float) -> Iterator[str]:
    label = row.label if len(row.label) <= MAX_LABEL else row.label[: MAX_LABEL - 1] + "…"
    yield _text(left - 12, y + 4, label, anchor="end")
    if row.interval is not None:
        low, high = (place(end) for end in row.interval)
        yield (
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{row.colour}" stroke-width="3" '
            'stroke-linecap="round"/>'
        )
    yield f'<circle cx="{place(row.value):.1f}" cy="{y}" r="5" fill="{row.colour}"/>'


def _ticks(low: float, high: float) -> list[float]:
    """At most 7 round numbers between `low` and `high`."""
    step = 10.0 ** math.floor(math.log10((high - low) / 6))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _range(row: IntervalRow) -> str:
    return "" if row.interval is None else f" ({row.interval[0]:.2f} to {row.interval[1]:.2f})"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: int = 400) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" {_FONT}>{escaped(text)}</text>'
