"""HTML for notebooks from plain data: tables, charts, heat maps. No script, no request, styles inline.

    panel("answers", table(["text", "score"], [["in 3 Stunden", "-0.02"]], right={1}))     # what `_repr_html_` returns

Text has the colour of the page and backgrounds are transparent, so that light and dark themes work. Every `str` is
escaped; only `Markup`, which the functions here return, is inserted unchanged.
"""

from __future__ import annotations

from antiphon.display.chart import line_chart
from antiphon.display.colours import DARK, LIGHT, shade
from antiphon.display.comparison import bar_chart, chart_grid, number_chart, point_chart
from antiphon.display.document import Section, document
from antiphon.display.figures import clock, fixed
from antiphon.display.heat import heat_map, map_title
from antiphon.display.html import (
    Markup,
    badge,
    bar,
    details,
    joined,
    note,
    panel,
    preformatted,
    side_by_side,
    table,
    tokens,
)
from antiphon.display.intervals import IntervalRow, interval_chart
from antiphon.display.pictures import beneath_picture, on_picture, png

__all__ = [
    "DARK",
    "IntervalRow",
    "LIGHT",
    "Markup",
    "Section",
    "badge",
    "bar",
    "bar_chart",
    "beneath_picture",
    "chart_grid",
    "clock",
    "details",
    "document",
    "fixed",
    "heat_map",
    "interval_chart",
    "joined",
    "line_chart",
    "map_title",
    "note",
    "number_chart",
    "on_picture",
    "panel",
    "png",
    "point_chart",
    "preformatted",
    "shade",
    "side_by_side",
    "table",
    "tokens",
]
