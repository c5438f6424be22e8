"""An attention map on the image that was read, or below the spectrogram of a recording: PNG, SVG (matplotlib, extra
`plots`) or an HTML page."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from antiphon.display import document
from antiphon.evaluation.maps.grid import Grid
from antiphon.evaluation.maps.picture import figure_tools, stored
from antiphon.generation.attention.maps import AttentionMaps, drawn_on
from antiphon.inputs.pictures import SourcePicture

PAGE_INCHES, PANEL_INCHES, MAX_PANELS = 10.0, 2.4, 64
_HINT = "Each picture has the weights with which the token below it was predicted, relative to its largest one."
_HINT_BENEATH = "Each row has the weights with which the token at its left was predicted; darker is more."


def picture_page(maps: AttentionMaps, grid: Grid) -> bytes:
    """The page of one map."""
    assert maps.picture is not None
    shown = drawn_on(maps.picture, grid.values, grid.rows)
    hint = _HINT_BENEATH if maps.picture.beneath else _HINT
    text = "".join(
        token for token, left_out in zip(maps.target_tokens, maps.target_special, strict=True) if not left_out
    )
    return document(
        text.replace("▁", " ").strip() or "Attention",
        kind="attention",
        lead=grid.title,
        sections=[("map", "Attention", shown)],
        footer=[hint],
        pictures=True,
    ).encode()


def drawn(picture: SourcePicture, grid: Grid, *, kind: str) -> bytes:
    """The content of a picture file, png or svg. ConfigError if matplotlib is not installed."""
    figure_type, settings, colours = figure_tools(kind)
    with settings:
        figure = (
            _beneath(picture, grid, figure_type, colours) if picture.beneath else _panels(picture, grid, figure_type)
        )
        return stored(figure, kind)


def _pixels(picture: SourcePicture) -> Tensor:
    """As matplotlib takes them: (H, W) or (H, W, C)."""
    return picture.pixels[0] if picture.pixels.shape[0] == 1 else picture.pixels.permute(1, 2, 0)


def _panels(picture: SourcePicture, grid: Grid, figure_type: Any) -> Any:
    """The image once for each token, with the token's weights as patches of one colour."""
    from matplotlib.patches import Rectangle

    tokens, (height, width) = grid.rows[:MAX_PANELS], picture.pixels.shape[1:]
    wide = PANEL_INCHES * min(max(width / height, 0.5), 4)
    columns = min(max(int(PAGE_INCHES / wide), 1), len(tokens))
    lines = math.ceil(len(tokens) / columns)
    figure = figure_type(figsize=(columns * wide, lines * (wide * height / width + 0.35) + 0.3), dpi=150)
    for place, token in enumerate(tokens):
        axes = figure.add_subplot(lines, columns, place + 1)
        axes.imshow(_pixels(picture).numpy(), cmap="gray", vmin=0, vmax=255)
        there = [(box, weight) for box, weight in zip(picture.boxes, grid.values[place].tolist(), strict=True) if box]
        largest = max((weight for _, weight in there), default=0.0) or 1.0
        for box, weight in there:
            corner, alpha = (box.left - 0.5, box.top - 0.5), 0.75 * max(weight, 0.0) / largest
            axes.add_patch(Rectangle(corner, box.width, box.height, facecolor="#d9480f", alpha=alpha, linewidth=0))
        axes.set_axis_off()
        axes.set_title(token, fontsize=8.5, parse_math=False)
    figure.supxlabel(grid.title, fontsize=9)
    return figure


def _beneath(picture: SourcePicture, grid: Grid, figure_type: Any, colours: Any) -> Any:
    """The picture, and the map below it with the same columns."""
    width = picture.pixels.shape[2]
    inches = min(max(width / 40, 4.0), 30.0)
    below = 0.2 * len(grid.rows)
    figure = figure_type(figsize=(inches, 1.6 + below), dpi=150)
    above, axes = figure.subplots(2, 1, sharex=True, height_ratios=[1.4, max(below, 0.2)])
    above.imshow(_pixels(picture).numpy(), cmap="gray", vmin=0, vmax=255, aspect="auto", extent=(0, width, 0, 1))
    above.set_axis_off()
    lefts = {place: min(box.left, width) for place, box in enumerate(picture.boxes) if box is not None}
    columns, edges = list(lefts), [*lefts.values(), width]
    lines = range(len(grid.rows) + 1)
    axes.pcolormesh(edges, list(lines), grid.values[:, columns].numpy(), cmap=colours, vmin=0, vmax=grid.largest)
    axes.invert_yaxis()
    axes.set_yticks([line + 0.5 for line in lines[:-1]], labels=grid.rows, fontsize=8.5, parse_math=False)
    places = columns[:: max(1, len(columns) // 8)]
    axes.set_xticks([lefts[i] for i in places], labels=[picture.labels[i] for i in places], fontsize=8)
    axes.set_xlabel(grid.title, fontsize=9)
    return figure
