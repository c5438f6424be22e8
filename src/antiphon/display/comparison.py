"""Charts of settings side by side, as inline SVG: bars of shares, and points by the value of one setting.

bar_chart({"lr": 0.7, "optimizer": 0.3}, title="importance")
point_chart({"adamw": [34.1, 35.0], "muon": [33.2]}, title="optimizer", up="error_rate", best=min)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

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
    floor_line,
    svg_frame,
    svg_text,
    ticks,
    x_axis,
    y_axis,
)
from antiphon.display.colours import CURVES
from antiphon.display.html import Markup, escaped

_NAME_LETTERS = 22


def bar_chart(shares: Mapping[str, float], *, title: str) -> Markup:
    """A horizontal bar for each share in 0..1, with its percentage."""
    left, row = 150.0, 24
    height = TOP + row * max(1, len(shares)) + 6
    inside = [svg_text(8, 14, title, weight=600)]
    if not shares:
        inside.append(svg_text(8, TOP + 15, "too few finished settings"))
    for place, (name, share) in enumerate(shares.items()):
        y = TOP + place * row
        width = max(0.0, min(1.0, share)) * (WIDTH - left - 60)
        inside.append(svg_text(left - 8, y + 15, _short(name, _NAME_LETTERS), anchor="end"))
        inside.append(
            f'<g><title>{escaped(f"{name}: {share:.1%}")}</title><rect x="{left:.1f}" y="{y + 4}" width="{width:.1f}" '
            f'height="{row - 9}" rx="2" fill="{CURVES[0]}"/></g>'
        )
        inside.append(svg_text(left + width + 6, y + 15, f"{share:.0%}"))
    caption = f"{title}: {', '.join(f'{name} {share:.0%}' for name, share in shares.items())}"
    return Markup(svg_frame(inside, caption, height=height))


def point_chart(
    points: Mapping[str, Sequence[float]],
    *,
    title: str,
    up: str,
    best: Callable[[Sequence[float]], float] = max,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Markup:
    """A point for each number by group, and a line at the `best` of each group. `names`: a text for each point."""
    found = {group: [y for y in ys if drawable(y)] for group, ys in points.items()}
    every = [y for ys in found.values() for y in ys]
    inside = [svg_text(LEFT, 14, title, weight=600), svg_text(WIDTH - RIGHT, 14, up, anchor="end")]
    if not every:
        inside.append(svg_text(LEFT, HEIGHT / 2, "no finished setting yet"))
        return Markup(svg_frame(inside, f"{up} by {title}"))
    up_of = fit_scale(min(every), max(every), HEIGHT - BOTTOM, TOP, margin=0.06)
    inside += y_axis(ticks(up_of, most=5), up_of)
    inside.append(floor_line())
    column = (WIDTH - RIGHT - LEFT) / len(points)
    letters = max(4, int(column / 6.2))
    for place, (group, ys) in enumerate(found.items()):
        x = LEFT + (place + 0.5) * column
        texts = (names or {}).get(group, [])
        inside += _column(x, column, ys, up_of, best(ys) if ys else None, texts)
        inside.append(svg_text(x, HEIGHT - BOTTOM + 15, _short(group, letters), anchor="middle"))
    said = ", ".join(f"{group} {best(ys):.4g}" for group, ys in found.items() if ys)
    return Markup(svg_frame(inside, f"{up} by {title}, the best of each: {said}"))


def number_chart(
    points: Sequence[tuple[float, float]],
    *,
    title: str,
    up: str,
    log: bool = False,
    names: Sequence[str] = (),
) -> Markup:
    """A point for each (x, y). `log`: the x axis is logarithmic. `names`: a text for each point."""
    shown = [
        (x, y, names[place] if place < len(names) else "")
        for place, (x, y) in enumerate(points)
        if drawable(x) and drawable(y)
    ]
    inside = [svg_text(LEFT, 14, title, weight=600), svg_text(WIDTH - RIGHT, 14, up, anchor="end")]
    if not shown:
        inside.append(svg_text(LEFT, HEIGHT / 2, "no finished setting yet"))
        return Markup(svg_frame(inside, f"{up} by {title}"))
    xs, ys = [x for x, _, _ in shown], [y for _, y, _ in shown]
    up_of = fit_scale(min(ys), max(ys), HEIGHT - BOTTOM, TOP, margin=0.06)
    across_of = fit_scale(min(xs), max(xs), LEFT + 8, WIDTH - RIGHT - 8, margin=0.02, log=log)
    inside += y_axis(ticks(up_of, most=5), up_of)
    inside += x_axis(ticks(across_of, most=6), across_of, "")
    inside += (_dot(across_of(x), up_of(y), text) for x, y, text in shown)
    return Markup(svg_frame(inside, f"{up} by {title}, {len(shown)} settings"))


def chart_grid(charts: Sequence[Markup], *, columns: int = 2) -> str:
    """Charts of `svg_frame` side by side in one SVG file, readable on light and dark pages."""
    sizes = [_size(chart) for chart in charts]
    inside, y, widest = [], 0.0, 0.0
    for first in range(0, len(charts), columns):
        x, tallest = 0.0, 0.0
        for chart, (width, height) in zip(charts[first : first + columns], sizes[first : first + columns], strict=True):
            inside.append(chart.html.replace("<svg ", f'<svg x="{x:.0f}" y="{y:.0f}" ', 1))
            x, tallest = x + width + 16, max(tallest, height)
        y, widest = y + tallest + 12, max(widest, x - 16)
    style = "<style>svg{color:#20242a}@media(prefers-color-scheme:dark){svg{color:#e8eaed}}</style>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{widest:.0f}" height="{y:.0f}" '
        f'viewBox="0 0 {widest:.0f} {y:.0f}">{style}{"".join(inside)}</svg>\n'
    )


def _size(chart: Markup) -> tuple[float, float]:
    found = re.search(r'width="(\d+)" height="(\d+)"', chart.html)
    assert found is not None
    return float(found[1]), float(found[2])


def _column(
    x: float, width: float, ys: Sequence[float], up_of: AxisScale, best: float | None, texts: Sequence[str]
) -> Iterator[str]:
    """The points of a group, spread over its column in order, and the line of the best."""
    if best is not None:
        half = min(width * 0.36, 40)
        yield (
            f'<line x1="{x - half:.1f}" x2="{x + half:.1f}" y1="{up_of(best):.1f}" y2="{up_of(best):.1f}" '
            f'stroke="{CURVES[1]}" stroke-width="2.5"/>'
        )
    spread = min(width * 0.5, 60)
    for place, y in enumerate(ys):
        across = x + spread * ((place + 0.5) / len(ys) - 0.5)
        yield _dot(across, up_of(y), texts[place] if place < len(texts) else "")


def _dot(x: float, y: float, text: str) -> str:
    title = f"<title>{escaped(text)}</title>" if text else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{CURVES[0]}" fill-opacity=".75">{title}</circle>'


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
