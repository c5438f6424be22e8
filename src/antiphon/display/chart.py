"""Curves by step, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from antiphon.display.colours import CURVES
from antiphon.display.html import Markup, escaped

WIDTH, HEIGHT = 400, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 26, 34  # margins
MAX_CURVE_POINTS = 400  # a curve is 334 units wide
_FONT = 'font-family="system-ui,sans-serif" font-size="11" fill="currentColor"'

Points = Sequence[tuple[float, float]]


def line_chart(curves: Mapping[str, Points], *, title: str, across: str = "step") -> Markup:
    """Curves of points (x, y) by name, on common axes with `title` above and `across` below. Values that are not
    finite leave a gap; a chart without a finite value says so."""
    finite = [point for points in curves.values() for point in points if _drawable(point)]
    inside = [_text(LEFT, 14, title, weight=600)]
    if finite:
        xs, ys = [x for x, _ in finite], [y for _, y in finite]
        across_of, left = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
        up_of, bottom = _scale(min(ys), max(ys), HEIGHT - BOTTOM, TOP, air=0.06)
        inside += _axes(_ticks(*left, most=6, whole=True), _ticks(*bottom, most=5), across_of, up_of, across)
        for place, points in enumerate(curves.values()):
            inside += _curve(points, across_of, up_of, CURVES[place % len(CURVES)])
        inside += _legend(list(curves), title)
    else:
        inside.append(_text(LEFT, HEIGHT / 2, "no finite value yet"))
    caption = f"{title}, by {across}: {', '.join(curves)}"
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escaped(caption)}" width="{WIDTH}" '
        f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" style="max-width:100%;height:auto">{"".join(inside)}</svg>'
    )


class _Line:
    """A linear map from `low`..`high` to `start`..`stop`."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.slope, self.start = low, (stop - start) / (high - low), start

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.slope


def _scale(
    low: float, high: float, start: float, stop: float, *, air: float = 0.0
) -> tuple[_Line, tuple[float, float]]:
    """The linear map for these values, and its bounds. `air` is the fraction of the range left free on either side, but
    not below zero if no value is negative."""
    positive = low >= 0
    around = (high - low) * air
    if not high > low:
        around, high = abs(low) / 2 or 1.0, low
    low, high = (max(low - around, 0.0) if positive else low - around), high + around
    return _Line(low, high, start, stop), (low, high)


def _ticks(low: float, high: float, *, most: int, whole: bool = False) -> list[float]:
    """At most `most` round numbers between `low` and `high`; `whole`: only integers."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most - 1)
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step)
    return [place * step for place in range(first, math.floor(high / step) + 1)][: most + 1]


def _axes(across: list[float], up: list[float], x_of: _Line, y_of: _Line, name: str) -> Iterator[str]:
    for value in up:
        y = y_of(value)
        yield (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            'stroke-opacity=".18"/>'
        )
        yield _text(LEFT - 6, y + 4, f"{value:.4g}", anchor="end")
    floor = HEIGHT - BOTTOM
    yield (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}" stroke="currentColor" stroke-opacity=".6"/>'
    )
    for value in across:
        x = x_of(value)
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}" stroke="currentColor" stroke-opacity=".6"/>'
        )
        yield _text(x, floor + 15, f"{value:,.0f}" if value == round(value) else f"{value:.4g}", anchor="middle")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, name, anchor="middle")


def _curve(points: Points, x_of: _Line, y_of: _Line, colour: str) -> Iterator[str]:
    for run in _runs(_thinned(points)):
        places = [f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in run]
        if len(places) > 1:
            yield (
                f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="1.8" '
                'stroke-linejoin="round"/>'
            )
        if len(run) <= 12:
            yield from (
                f'<circle cx="{place.split(",")[0]}" cy="{place.split(",")[1]}" r="2.4" fill="{colour}"/>'
                for place in places
            )


def _drawable(point: tuple[float, float]) -> bool:
    """Whether both numbers are finite and small enough that differences do not overflow."""
    return all(abs(number) < 1e300 for number in point)


def _thinned(points: Points) -> Points:
    """The points, or MAX_CURVE_POINTS of them at equal distances, always with the last one."""
    if len(points) <= MAX_CURVE_POINTS:
        return points
    return [points[round(place * (len(points) - 1) / (MAX_CURVE_POINTS - 1))] for place in range(MAX_CURVE_POINTS)]


def _runs(points: Points) -> Iterator[Points]:
    """The runs of consecutive finite points."""
    run: list[tuple[float, float]] = []
    for point in points:
        if _drawable(point):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _legend(names: list[str], title: str) -> Iterator[str]:
    if names == [title]:
        return
    x = float(WIDTH - RIGHT)
    for place in reversed(range(len(names))):
        name = names[place] if len(names[place]) <= 18 else names[place][:17] + "…"
        yield _text(x, 14, name, anchor="end")
        x -= 5.8 * len(name) + 5
        colour = CURVES[place % len(CURVES)]
        yield f'<line x1="{x - 14:.1f}" x2="{x:.1f}" y1="10" y2="10" stroke="{colour}" stroke-width="2.5"/>'
        x -= 30


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: int = 400) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" {_FONT}>{escaped(text)}</text>'
