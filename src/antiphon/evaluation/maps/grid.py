"""One attention map to draw: its weights and labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from antiphon.display import map_title
from antiphon.errors import printable
from antiphon.generation.attention.maps import AttentionMaps


@dataclass(frozen=True)
class Grid:
    """`values` (Q,K) with a label for each row (query) and column (key), and a title."""

    values: Tensor
    rows: list[str]
    columns: list[str]
    title: str

    @property
    def largest(self) -> float:
        """The largest value, which is drawn darkest."""
        return max(float(self.values.max()), 1e-6)


def grid_of(maps: AttentionMaps, role: str = "cross", *, layer: int | None = None, head: int | None = None) -> Grid:
    """The map of a layer and a head, counted from 0; None: their mean."""
    rows, columns = maps.labels(role)
    values = maps.map(role, layer=layer, head=head)
    layers, heads = maps.weights(role).shape[:2]
    return Grid(
        values, [*map(printable, rows)], [*map(printable, columns)], map_title(role, layer, head, layers, heads)
    )
