"""An attention map as PNG or SVG, drawn by matplotlib (extra `plots`)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from antiphon.display import DARK, LIGHT
from antiphon.errors import ConfigError
from antiphon.evaluation.maps.grid import Grid

INCHES_PER_CELL, MIN_INCHES, MAX_INCHES = (
    0.28,
    0.84,
    60.0,
)  # the maximum: programs open it
_FONTS = ["DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Arial Unicode MS", "sans-serif"]


def figure_tools(kind: str) -> tuple[Any, AbstractContextManager[Any], Any]:
    """Matplotlib's class of figures, a context with its settings, and the colours of weights; ConfigError if it is not
    installed."""
    try:
        from matplotlib import rc_context
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager
    except ImportError:
        raise ConfigError(
            f"a picture (.{kind}) needs the library matplotlib, which is not installed. "
            "Run pip install 'antiphon[plots]', or take .html."
        ) from None
    here = {font.name for font in fontManager.ttflist}
    # Keep text as text in an SVG, and make the file depend on the map alone.
    settings = {
        "font.family": [name for name in _FONTS if name in here] or ["sans-serif"],
        "svg.fonttype": "none",
        "svg.hashsalt": "antiphon",
    }
    colours = LinearSegmentedColormap.from_list("weights", [[part / 255 for part in end] for end in (LIGHT, DARK)])
    return Figure, _applied(rc_context(settings)), colours  # type: ignore[arg-type]


@contextmanager
def _applied(settings: AbstractContextManager[Any]) -> Iterator[None]:
    with settings, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def stored(figure: Any, kind: str) -> bytes:
    """A figure as the content of a file, which depends on the figure alone."""
    file = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": "Antiphon"}
    figure.savefig(file, format=kind, bbox_inches="tight", pad_inches=0.12, metadata=metadata)
    return file.getvalue()


def picture(grid: Grid, *, kind: str) -> bytes:
    """The content of a picture file; `kind` is png or svg. ConfigError if matplotlib is not installed."""
    figure_type, settings, colours = figure_tools(kind)
    queries, keys = grid.values.shape
    inside = [min(max(count * INCHES_PER_CELL, MIN_INCHES), MAX_INCHES) for count in (keys, queries)]
    with settings:
        figure = figure_type(figsize=(inside[0] + 1.2, inside[1] + 0.6), dpi=150)
        axes = figure.add_axes((0, 0, inside[0] / (inside[0] + 1.2), inside[1] / (inside[1] + 0.6)))
        image = axes.imshow(grid.values.numpy(), cmap=colours, vmin=0, vmax=grid.largest, aspect="auto")
        size = 8.5 if max(queries, keys) * INCHES_PER_CELL <= MAX_INCHES else 2.0
        # Align baselines: "▁" is below the baseline, and centring would shift such labels.
        upright = {"rotation": 90, "rotation_mode": "anchor", "ha": "left", "va": "center_baseline"}
        axes.set_xticks(range(keys), labels=grid.columns, fontsize=size, parse_math=False, **upright)
        axes.set_yticks(range(queries), labels=grid.rows, fontsize=size, parse_math=False, va="center_baseline")
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.set_xticks([edge - 0.5 for edge in range(1, keys)], minor=True)
        axes.set_yticks([edge - 0.5 for edge in range(1, queries)], minor=True)
        axes.grid(which="minor", color="#e4e4e4", linewidth=0.5)
        axes.tick_params(which="minor", length=0)
        for side in axes.spines.values():
            side.set_color("#b8b8b8")
        wide, gap = min(0.24 / inside[0], 0.1), 0.15 / inside[0]
        ticks = [0.0, grid.largest / 2, grid.largest]
        bar = figure.colorbar(image, ax=axes, ticks=ticks, format="%.2f", fraction=wide, pad=gap)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.tick_params(labelsize=8, length=2)
        axes.set_xlabel(grid.title, fontsize=9, labelpad=8)
        return stored(figure, kind)
