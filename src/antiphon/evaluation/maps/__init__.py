"""Drawings of attention maps: text for a terminal, PNG or SVG, or one HTML page.

maps = model.attention("in 3 hours")
draw(maps, "map.png"), draw(maps, "map.html"), print("".join(line.plain for line in lines(grid_of(maps))))
"""

from __future__ import annotations

from antiphon.evaluation.maps.drawing import ENDINGS, check_ending, draw
from antiphon.evaluation.maps.grid import Grid, grid_of
from antiphon.evaluation.maps.terminal import lines

__all__ = ["ENDINGS", "Grid", "check_ending", "draw", "grid_of", "lines"]
