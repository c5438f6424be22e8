"""One attention map to draw: its numbers, what stands beside them, and the colours that all drawings share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from antiphon.generation.maps import AttentionMaps

LIGHT, DARK = (0xFF, 0xFF, 0xFF), (0x0B, 0x3C, 0x8C)  # no weight and the largest one


@dataclass(frozen=True)
class Grid:
    """`values` (Q,K) with a label for each row (query) and column (key), and a line that says what it is."""

    values: Tensor
    rows: list[str]
    columns: list[str]
    title: str

    @property
    def largest(self) -> float:
        """The value that is drawn darkest."""
        return max(float(self.values.max()), 1e-6)


def grid_of(maps: AttentionMaps, role: str = "cross", *, layer: int | None = None, head: int | None = None) -> Grid:
    """The map of a layer and a head, counted from 0; None: their mean."""
    rows, columns = maps.labels(role)
    values = maps.map(role, layer=layer, head=head)
    layers, heads = maps.weights(role).shape[:2]
    return Grid(values, [*map(printable, rows)], [*map(printable, columns)], title(role, layer, head, layers, heads))


def title(role: str, layer: int | None, head: int | None, layers: int, heads: int) -> str:
    """What a map is, for people, who count from 1."""

    def said(what: str, place: int | None, count: int) -> str:
        return f"mean of {count} {what}s" if place is None and count > 1 else f"{what} {(place or 0) + 1} of {count}"

    return f"{role} attention, {said('layer', layer, layers)}, {said('head', head, heads)}"


def printable(token: str) -> str:
    """A token without what would move a cursor or turn the writing: control and format characters are spelled out."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in token)


def shade(share: float) -> tuple[int, int, int]:
    """The colour of a share in 0..1 of the largest weight, as red, green and blue in 0..255."""
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (round(light + (dark - light) * share) for light, dark in zip(LIGHT, DARK, strict=True))
    return red, green, blue
