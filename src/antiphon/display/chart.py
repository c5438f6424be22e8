"""Curves by step, as inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from antiphon.display.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    AxisScale,
    drawable,
    fit_scale,
    svg_frame,
    svg_text,
    ticks,
    x_axis,
    y_axis,
)
from antiphon.display.colours import CURVES
from antiphon.display.html import Markup

MAX_CURVE_POINTS = 400  # a curve is 334 units wide

Points = Sequence[tuple[float, float]]


def line_chart(
    curves: Mapping[str, Points],
    *,
    title: str,
    across: str = "step",
    log: bool = False,
    marks: Mapping[str, float] | None = None,
) -> Markup:
    """Curves of points (x, y) by name, on common axes with `title` above and `across` below. Values that are not
    finite leave a gap; a chart without a finite value says so. `log`: the x axis is logarithmic, and all x are above 0.
    `marks`: x by name, drawn as dashed lines from top to bottom."""
    finite = [point for points in curves.values() for point in points if _is_drawable(point)]
    inside = [svg_text(LEFT, 14, title, weight=600)]
    if finite:
        xs, ys = [x for x, _ in finite], [y for _, y in finite]
        across_of = fit_scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, log=log)
        up_of = fit_scale(min(ys), max(ys), HEIGHT - BOTTOM, TOP, margin=0.06)
        inside += y_axis(ticks(up_of, most=5), up_of)
        inside += x_axis(ticks(across_of, most=6, whole=not log), across_of, across)
        for place, points in enumerate(curves.values()):
            inside += _curve(points, across_of, up_of, CURVES[place % len(CURVES)])
        inside += _marks(marks or {}, across_of)
        inside += _legend(list(curves), title)
    else:
        inside.append(svg_text(LEFT, HEIGHT / 2, "no finite value yet"))
    return Markup(svg_frame(inside, f"{title}, by {across}: {', '.join([*curves, *(marks or {})])}"))


def _marks(marks: Mapping[str, float], across_of: AxisScale) -> Iterator[str]:
    for place, (name, value) in enumerate(marks.items()):
        x = across_of(value)
        end = x > (LEFT + WIDTH) / 2
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{CURVES[1]}" '
            'stroke-width="1.5" stroke-dasharray="4 3"/>'
        )
        yield svg_text(x - 4 if end else x + 4, TOP + 11 + 13 * place, name, anchor="end" if end else "start")


def _curve(points: Points, x_of: AxisScale, y_of: AxisScale, colour: str) -> Iterator[str]:
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


def _is_drawable(point: tuple[float, float]) -> bool:
    return drawable(point[0]) and drawable(point[1])


def _thinned(points: Points) -> Points:
    """The points, or MAX_CURVE_POINTS of them at equal distances, always with the last one."""
    if len(points) <= MAX_CURVE_POINTS:
        return points
    return [points[round(place * (len(points) - 1) / (MAX_CURVE_POINTS - 1))] for place in range(MAX_CURVE_POINTS)]


def _runs(points: Points) -> Iterator[Points]:
    """The runs of consecutive finite points."""
    run: list[tuple[float, float]] = []
    for point in points:
        if _is_drawable(point):
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
        yield svg_text(x, 14, name, anchor="end")
        x -= 5.8 * len(name) + 5
        colour = CURVES[place % len(CURVES)]
        yield f'<line x1="{x - 14:.1f}" x2="{x:.1f}" y1="10" y2="10" stroke="{colour}" stroke-width="2.5"/>'
        x -= 30
