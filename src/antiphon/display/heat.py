"""A heat map of attention weights as inline SVG: rows are queries, columns keys; darkness is relative to the
largest."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterator, Sequence

from antiphon.display.colours import code_of, shade
from antiphon.display.html import Markup, joined, note
from antiphon.errors import printable

CELL, ROW = 26, 21  # width and height of a cell
MAX_CELLS = 48  # rows and columns that are drawn
MAX_LABEL_COLUMNS = 18
_LETTER = 6.9  # width of a column of a label, in the font below
_FONT = 'font-family="system-ui,sans-serif" font-size="12" fill="currentColor"'
_TURN = math.radians(60)


def heat_map(values: Sequence[Sequence[float]], *, rows: Sequence[str], columns: Sequence[str]) -> Markup:
    """Draw `values` with labels `rows` and `columns`; cells show percentages. Of a large map only the first MAX_CELLS
    rows and columns are drawn, with a note below. NaN is an empty cell."""
    down, across = [_label(text) for text in rows[:MAX_CELLS]], [_label(text) for text in columns[:MAX_CELLS]]
    shown = [list(row[:MAX_CELLS]) for row in values[:MAX_CELLS]]
    largest = max((value for row in values for value in row if value == value), default=0.0)
    widths = [_width(label) for label in across]
    flat = max(widths, default=0) <= CELL - 4
    left = max(map(_width, down), default=0) + 8
    top = 20.0 if flat else max(widths, default=0) * math.sin(_TURN) + 16
    ends = [(place + 0.5) * CELL + width * math.cos(_TURN) + 22 for place, width in enumerate(widths)]
    width = left + max(len(across) * CELL, 0 if flat else max(ends, default=0)) + 4
    height = top + len(down) * ROW + 4
    inside = [
        *_rows(down, left, top),
        *_columns(across, left, top, flat=flat),
        *_cells(shown, largest or 1.0, left, top, rows, columns),
    ]
    drawn = Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{len(rows)} queries by {len(columns)} keys" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">{"".join(inside)}</svg>'
    )
    if len(rows) <= MAX_CELLS and len(columns) <= MAX_CELLS:
        return drawn
    caption = f"the first {len(down)} of {len(rows)} rows and {len(across)} of {len(columns)} columns"
    return joined(drawn, note(caption))


def map_title(role: str, layer: int | None, head: int | None, layers: int, heads: int) -> str:
    """The title of an attention map, with numbers from 1; None: the mean."""

    def caption(what: str, place: int | None, count: int) -> str:
        return f"mean of {count} {what}s" if place is None and count > 1 else f"{what} {(place or 0) + 1} of {count}"

    return f"{role} attention, {caption('layer', layer, layers)}, {caption('head', head, heads)}"


def _rows(labels: Sequence[str], left: float, top: float) -> Iterator[str]:
    for place, label in enumerate(labels):
        y = top + place * ROW + 15
        yield f'<text x="{left - 6:.1f}" y="{y:.1f}" text-anchor="end" {_FONT}>{html.escape(label)}</text>'


def _columns(labels: Sequence[str], left: float, top: float, *, flat: bool) -> Iterator[str]:
    for place, label in enumerate(labels):
        x, y = left + (place + 0.5) * CELL, top - 6
        if flat:
            yield f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" {_FONT}>{html.escape(label)}</text>'
        else:
            turned = f'transform="translate({x + 4:.1f} {y:.1f}) rotate(-60)"'
            yield f"<text {turned} {_FONT}>{html.escape(label)}</text>"


def _cells(
    values: Sequence[Sequence[float]],
    largest: float,
    left: float,
    top: float,
    rows: Sequence[str],
    columns: Sequence[str],
) -> Iterator[str]:
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if value != value:
                continue
            share, percent = value / largest, round(100 * value)
            x, y = left + j * CELL, top + i * ROW
            named = html.escape(f"{printable(rows[i])} → {printable(columns[j])}: {value:.4f}")
            yield (
                f'<g><title>{named}</title><rect x="{x:.1f}" y="{y:.1f}" width="{CELL - 1}" height="{ROW - 1}" '
                f'fill="{code_of(shade(share))}" stroke="#b8b8b8" stroke-width=".5"/>'
            )
            if percent:
                ink = "#ffffff" if share > 0.5 else "#000000"
                yield (
                    f'<text x="{x + CELL / 2 - 0.5:.1f}" y="{y + 14:.1f}" text-anchor="middle" font-size="10" '
                    f'font-family="system-ui,sans-serif" fill="{ink}">{percent}</text>'
                )
            yield "</g>"


def _label(text: str) -> str:
    """A label of at most MAX_LABEL_COLUMNS, without control characters of the writing direction."""
    text = printable(text)
    if _columns_of(text) <= MAX_LABEL_COLUMNS:
        return text
    kept = ""
    for letter in text:
        if _columns_of(kept + letter) > MAX_LABEL_COLUMNS - 1:
            break
        kept += letter
    return kept + "…"


def _columns_of(text: str) -> int:
    """The width of a text in columns: wide letters count two, combining marks none."""
    return sum(
        0
        if unicodedata.combining(letter)
        else 2
        if unicodedata.east_asian_width(letter) in "WF" or letter == "▁"
        else 1
        for letter in text
    )


def _width(text: str) -> float:
    return _columns_of(text) * _LETTER
