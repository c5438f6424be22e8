"""The axes of charts as inline SVG: scales, ticks, texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from antiphon.display.html import escaped

WIDTH, HEIGHT = 400, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 26, 34  # margins
_FONT = 'font-family="system-ui,sans-serif" font-size="11" fill="currentColor"'


@dataclass(frozen=True, slots=True)
class AxisScale:
    """A map from values `low`..`high` to places `start`..`stop`: linear, or with `log` linear in the logarithm."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return self.start + share * (self.stop - self.start)


def fit_scale(
    low: float, high: float, start: float, stop: float, *, margin: float = 0.0, log: bool = False
) -> AxisScale:
    """The scale for values from `low` to `high`. `margin` is the fraction of the range left free on either side, but
    not below zero if no value is negative."""
    if log:
        around = (high / low) ** margin if high > low else 2.0
        return AxisScale(low / around, high * around, start, stop, log=True)
    positive = low >= 0
    around = (high - low) * margin
    if not high > low:
        around, high = abs(low) / 2 or 1.0, low
    low, high = (max(low - around, 0.0) if positive else low - around), high + around
    return AxisScale(low, high, start, stop)


def ticks(scale: AxisScale, *, most: int, whole: bool = False) -> list[float]:
    """At most `most` + 1 round numbers on a scale; `whole`: only integers. On a logarithmic scale powers of ten, with
    their double and fivefold where there is space."""
    low, high = scale.low, scale.high
    if scale.log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            found = [factor * 10.0**power for power in powers for factor in factors]
            found = [value for value in found if low <= value <= high]
            if len(found) <= most:
                return found
        return found[:: math.ceil(len(found) / most)]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most - 1)
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step)
    return [place * step for place in range(first, math.floor(high / step) + 1)][: most + 1]


def y_axis(values: Sequence[float], scale: AxisScale, *, right: float = WIDTH - RIGHT) -> Iterator[str]:
    """Lines across the chart, with their values."""
    for value in values:
        y = scale(value)
        yield (
            f'<line x1="{LEFT}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" stroke-opacity=".18"/>'
        )
        yield svg_text(LEFT - 6, y + 4, f"{value:.4g}", anchor="end")


def x_axis(values: Sequence[float], scale: AxisScale, name: str) -> Iterator[str]:
    """The line below the chart, with ticks, values and its name."""
    floor = HEIGHT - BOTTOM
    yield floor_line()
    for value in values:
        x = scale(value)
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}" stroke="currentColor" stroke-opacity=".6"/>'
        )
        shown = f"{value:,.0f}" if value == round(value) and not scale.log else f"{value:.4g}"
        yield svg_text(x, floor + 15, shown, anchor="middle")
    yield svg_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, name, anchor="middle")


def floor_line(*, right: float = WIDTH - RIGHT, floor: float = HEIGHT - BOTTOM) -> str:
    """The line below a chart."""
    return (
        f'<line x1="{LEFT}" x2="{right:.0f}" y1="{floor:.1f}" y2="{floor:.1f}" stroke="currentColor" '
        'stroke-opacity=".6"/>'
    )


def svg_text(x: float, y: float, text: str, *, anchor: str = "start", weight: int = 400) -> str:
    """A text at a place; `anchor`: start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" {_FONT}>{escaped(text)}</text>'


def svg_frame(inside: Sequence[str], caption: str, *, width: float = WIDTH, height: float = HEIGHT) -> str:
    """An SVG picture with a caption for screen readers, no wider than its page."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escaped(caption)}" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:100%;height:auto">'
        f"{''.join(inside)}</svg>"
    )


def drawable(value: float) -> bool:
    """Whether a number is finite and small enough that differences do not overflow."""
    return abs(value) < 1e300
