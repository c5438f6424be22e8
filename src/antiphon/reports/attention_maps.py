"""The attention maps of some examples of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.display import Markup, heat_map, map_title
from antiphon.errors import AntiphonError, memory_ran_out
from antiphon.generation.attention.maps import AttentionMaps
from antiphon.generation.model import Model
from antiphon.reports.results import RankedExample

MAX_MAPS, MAX_CHARACTERS = 3, 120  # of source and answer together: a map of more tokens cannot be read


@dataclass(frozen=True)
class DrawnMap:
    """The picture of the cross-attention of an example, the mean over layers and heads."""

    example: RankedExample
    title: str
    picture: Markup


def draw_maps(model: Model | None, examples: Sequence[RankedExample]) -> tuple[list[DrawnMap], str]:
    """Maps of one example of each kind, short ones first; and the reason if there are none."""
    if model is None:
        return [], "there is no model in the run folder"
    kinds = {example.kind: [other for other in examples if other.kind == example.kind] for example in examples}
    wanted = [min(found, key=_size) for found in kinds.values()]
    wanted = [example for example in wanted if example.answer.answer.strip() and _size(example) <= MAX_CHARACTERS]
    if not wanted:
        return [], "no example is short enough to be drawn"
    drawn: list[DrawnMap] = []
    for example in wanted[:MAX_MAPS]:
        try:
            drawn.append(_drawn(example, model.attention(example.answer.source, example.answer.answer)))
        except AntiphonError as error:
            return drawn, str(error)
        except RuntimeError as error:
            if not memory_ran_out(error):
                raise
            return drawn, "memory ran out"
    return drawn, ""


def _size(example: RankedExample) -> int:
    return len(example.answer.source) + len(example.answer.answer)


def _drawn(example: RankedExample, maps: AttentionMaps) -> DrawnMap:
    layers, heads = maps.weights("cross").shape[:2]
    rows, columns = maps.labels("cross")
    picture = heat_map(maps.map("cross").tolist(), rows=rows, columns=columns)
    return DrawnMap(example, map_title("cross", None, None, layers, heads), picture)
