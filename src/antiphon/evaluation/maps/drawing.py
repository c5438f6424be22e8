"""Writes a drawing in the format of the file name."""

from __future__ import annotations

from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.evaluation.maps.grid import grid_of
from antiphon.evaluation.maps.on_pictures import drawn, picture_page
from antiphon.evaluation.maps.page import page
from antiphon.evaluation.maps.picture import picture
from antiphon.generation.attention.maps import AttentionMaps

ENDINGS = (".png", ".svg", ".html")


def check_ending(file: str | Path) -> str:
    """The suffix of a drawing's file; ConfigError for an unsupported one."""
    ending = Path(file).suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(f"a drawing must be a {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} file, but is `{file}`.")
    return ending


def draw(
    maps: AttentionMaps, file: str | Path, *, role: str = "cross", layer: int | None = None, head: int | None = None
) -> Path:
    """Write a map to `file`: `.png` or `.svg`, or `.html`, a page with all maps to choose from.

    `layer` and `head` are counted from 0; None: the mean. A page first shows the chosen one. The map of an image's
    cross-attention is drawn on the image, that of a recording below its spectrogram; its page has the chosen map alone.
    """
    ending, file = check_ending(file), Path(file)
    grid = grid_of(maps, role, layer=layer, head=head)
    if role == "cross" and maps.picture is not None:
        content = drawn(maps.picture, grid, kind=ending[1:]) if ending != ".html" else picture_page(maps, grid)
    elif ending == ".html":
        content = page(maps, role=role, layer=layer, head=head).encode()
    else:
        content = picture(grid, kind=ending[1:])
    file.write_bytes(content)
    return file
