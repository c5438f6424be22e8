"""All attention maps of one pair as a single, self-contained HTML page that makes no requests.

The data is embedded as JSON without any `<`, so that no text can close its element; tokens are drawn on a canvas or
inserted as text, never as HTML. A weight is one byte, in base64, scaled between the smallest and the largest weight of
its map; colours are relative to the largest, so that maps of 1,000 tokens remain visible.
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
from antiphon.generation.attention.maps import MAPS, AttentionMaps

MAX_TITLE_CHARACTERS = 80
_BYTES = re.compile("(?:<0x[0-9A-F]{2}>)+")  # how tokens show parts of a letter
STEPS = 255  # quantization steps from the smallest to the largest weight of a map


def page(maps: AttentionMaps, *, role: str = "cross", layer: int | None = None, head: int | None = None) -> str:
    """The page, which first shows the map of `role`, `layer` and `head` (from 0; None: the mean)."""
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
    # Each placeholder is replaced once, the data last, so that placeholders in a text are never replaced.
    before, _, after = template.partition("{{data}}")
    return before.replace("{{title}}", html.escape(f"Attention: {text}")) + as_json + after


def _role(maps: AttentionMaps, role: str, found: Tensor) -> dict[str, Any]:
    rows, columns = maps.labels(role)
    layers, heads = found.shape[:2]
    return {
        "rows": [*map(printable, rows)],
        "columns": [*map(printable, columns)],
        # Layers and heads without weights are null.
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
    """The text of the tokens, approximately, with bytes joined to characters; truncated if long."""
    said = "".join(token for token, left_out in zip(tokens, special, strict=True) if not left_out)
    said = _BYTES.sub(lambda found: bytes.fromhex(re.sub("<0x|>", "", found[0])).decode("utf-8", "replace"), said)
    said = printable(said.replace("▁", " ").strip())
    return said if len(said) <= MAX_TITLE_CHARACTERS else said[: MAX_TITLE_CHARACTERS - 1] + "…"
