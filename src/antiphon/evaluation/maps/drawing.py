"""Which drawing a file's name asks for."""

from __future__ import annotations

from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.evaluation.maps.grid import grid_of
from antiphon.evaluation.maps.page import page
from antiphon.evaluation.maps.picture import picture
from antiphon.generation.maps import AttentionMaps

ENDINGS = (".png", ".svg", ".html")


def check_ending(file: str | Path) -> str:
    """The ending of a drawing's file; ConfigError for one that nothing here draws."""
    ending = Path(file).suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(f"a drawing must be a {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} file, but is `{file}`.")
    return ending


def draw(
    maps: AttentionMaps, file: str | Path, *, role: str = "cross", layer: int | None = None, head: int | None = None
) -> Path:
    """Write a map into `file`, as its ending says: `.png` or `.svg`, or `.html`, which holds all maps to choose from.

    `layer` and `head` are counted from 0; None: the mean. A page begins with the one that is named.
    """
    ending, file = check_ending(file), Path(file)
    grid = grid_of(maps, role, layer=layer, head=head)
    if ending == ".html":
        content = page(maps, role=role, layer=layer, head=head).encode()
    else:
        content = picture(grid, kind=ending[1:])
    file.write_bytes(content)
    return file
