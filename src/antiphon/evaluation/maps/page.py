"""All attention maps of one pair as a single HTML page: no request leaves it, and it works from a file.

What it shows stands in the page as JSON, in which no `<` is left, so that no text can end its element; tokens are drawn
on a canvas or put in as text, never as HTML. A map is a byte a weight, in base64, between the least and the largest of
its own: with that, and as colours are shares of the largest, one of 1,000 tokens looks as it is too.
"""

from __future__ import annotations

import base64
import html
import json
import re
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from antiphon.display import DARK, LIGHT
from antiphon.errors import printable
from antiphon.generation.maps import MAPS, AttentionMaps

LONGEST_TITLE = 80  # letters
_BYTES = re.compile("(?:<0x[0-9A-F]{2}>)+")  # how tokens show parts of a letter
STEPS = 255  # from the least to the largest weight of a map


def page(maps: AttentionMaps, *, role: str = "cross", layer: int | None = None, head: int | None = None) -> str:
    """The page, which begins with the map of `role`, `layer` and `head` (from 0; None: the mean)."""
    sides = {"cross": maps.cross, "encoder": maps.encoder, "decoder": maps.decoder}
    data: dict[str, Any] = {
        "maps": {name: _role(maps, name, found) for name in MAPS if (found := sides[name]) is not None},
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
            [None if found[i, j].isnan().all() else _packed(found[i, j]) for j in range(heads)] for i in range(layers)
        ],
    }


def _packed(weights: Tensor) -> dict[str, Any]:
    """(Q,K) as bytes in base64, row after row: a byte b is `least` + b / STEPS · (`largest` - `least`)."""
    weights = weights.double().nan_to_num()
    least = min(float(weights.min()), 0.0)
    largest = max(float(weights.max()), least + 1e-9)
    steps = ((weights - least) / (largest - least) * STEPS).round().to(torch.uint8)
    code = base64.b64encode(steps.contiguous().numpy().tobytes()).decode()
    return {"least": least, "largest": largest, "bytes": code}


def _text(tokens: list[str], special: list[bool]) -> str:
    """About what the tokens say, bytes joined to letters; the first letters of a long text."""
    said = "".join(token for token, left_out in zip(tokens, special, strict=True) if not left_out)
    said = _BYTES.sub(lambda found: bytes.fromhex(re.sub("<0x|>", "", found[0])).decode("utf-8", "replace"), said)
    said = printable(said.replace("▁", " ").strip())
    return said if len(said) <= LONGEST_TITLE else said[: LONGEST_TITLE - 1] + "…"
