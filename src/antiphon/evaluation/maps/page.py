"""All attention maps of one pair as a single HTML page: no request leaves it, and it works from a file.

The numbers stand in the page as JSON, in which no `<` is left, so that no text can end its element; tokens are drawn
on a canvas or put in as text, never as HTML.
"""

from __future__ import annotations

import html
import json
import re
from importlib import resources
from typing import Any

from torch import Tensor

from antiphon.evaluation.maps.grid import DARK, LIGHT, printable
from antiphon.generation.maps import ROLES, AttentionMaps

LONGEST_TITLE = 80  # letters
_BYTES = re.compile("(?:<0x[0-9A-F]{2}>)+")  # how tokens show parts of a letter
STEPS = 10_000  # a weight of 1; weights are whole numbers in the page


def page(maps: AttentionMaps, *, role: str = "cross", layer: int | None = None, head: int | None = None) -> str:
    """The page, which begins with the map of `role`, `layer` and `head` (from 0; None: the mean)."""
    sides = {"cross": maps.cross, "encoder": maps.encoder, "decoder": maps.decoder}
    data: dict[str, Any] = {
        "maps": {name: _role(maps, name, found) for name in ROLES if (found := sides[name]) is not None},
        "first": {"role": role, "layer": "mean" if layer is None else layer, "head": "mean" if head is None else head},
        "steps": STEPS,
        "colours": [LIGHT, DARK],
    }
    text = _text(maps.source_tokens, maps.source_special)
    template = resources.files("antiphon.evaluation.maps").joinpath("page.html").read_text(encoding="utf-8")
    as_json = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    as_json = as_json.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    # One pass each, the data last: what a text holds is never looked through for a mark.
    before, _, after = template.partition("{{data}}")
    return before.replace("{{title}}", html.escape(f"Attention: {text}")) + as_json + after


def _role(maps: AttentionMaps, role: str, found: Tensor) -> dict[str, Any]:
    rows, columns = maps.labels(role)
    layers, heads = found.shape[:2]
    return {
        "rows": [*map(printable, rows)],
        "columns": [*map(printable, columns)],
        # A layer, or a head, without weights is null.
        "weights": [
            [None if found[i, j].isnan().all() else _whole(found[i, j]) for j in range(heads)] for i in range(layers)
        ],
    }


def _whole(weights: Tensor) -> list[int]:
    """(Q,K) as whole numbers, row after row."""
    return (weights * STEPS).round().nan_to_num().int().flatten().tolist()


def _text(tokens: list[str], special: list[bool]) -> str:
    """About what the tokens say, bytes joined to letters; the first letters of a long text."""
    said = "".join(token for token, left_out in zip(tokens, special, strict=True) if not left_out)
    said = _BYTES.sub(lambda found: bytes.fromhex(re.sub("<0x|>", "", found[0])).decode("utf-8", "replace"), said)
    said = printable(said.replace("▁", " ").strip())
    return said if len(said) <= LONGEST_TITLE else said[: LONGEST_TITLE - 1] + "…"
