"""An explanation as one self-contained HTML page that makes no requests.

Its texts are escaped, its data is embedded as JSON without any `<`. The script only chooses which word's attributions
the source shows; without it the page shows those of the whole answer.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from antiphon.display.html import escaped
from antiphon.errors import printable
from antiphon.evaluation.explain.attributions import Attributions, largest_of
from antiphon.evaluation.explain.shown import deletion_chart
from antiphon.evaluation.explain.terminal import number

MAX_TITLE_CHARACTERS, MAX_TABLE_CELLS = 80, 20_000
_SIGNED = (
    '<span><i class="raises"></i> raises the probability (+)</span><span><i class="lowers"></i> lowers it (−)</span>'
)
_UNSIGNED = '<span><i class="raises"></i> a large share of the attention</span>'
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def write(found: Attributions, file: Path) -> Path:
    """Write the page, or for the ending .json the object."""
    if file.suffix.lower() == ".json":
        content = json.dumps(found.as_json(), ensure_ascii=False) + "\n"
    else:
        content = page(found)
    file.write_bytes(content.encode("utf-8", "replace"))
    return file


def page(found: Attributions) -> str:
    """The page."""
    template = resources.files("antiphon.evaluation.explain").joinpath("page.html").read_text(encoding="utf-8")
    script = _SCRIPT.search(template)
    assert script is not None
    hashed = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    title = printable(found.answer)
    title = title if len(title) <= MAX_TITLE_CHARACTERS else title[: MAX_TITLE_CHARACTERS - 1] + "…"
    chart = deletion_chart(found)
    parts = {
        "hash": hashed,
        "title": html.escape(title),
        "method": escaped(f"{found.about.title} ({found.about.source})"),
        "unit": escaped(found.about.unit),
        "what": "label" if found.is_label else "answer",
        "words": "".join(_words(found)),
        "tokens": "".join(_tokens(found)),
        "source": escaped(found.source),
        "legend": _SIGNED if found.about.signed else _UNSIGNED,
        "notes": "".join(f"<li>{escaped(line)}</li>" for line in found.notes[1:]),
        "chart": "" if chart is None else chart.html,
        "table": _table(found),
        "data": _data(found),
    }
    # In one pass, so that a placeholder in a text is never replaced.
    return _PLACEHOLDER.sub(lambda name: parts[name[1]], template)


def _words(found: Attributions) -> Iterator[str]:
    for place, text in enumerate(found.units):
        yield (
            f'<button type="button" class="word" data-unit="{place}" aria-pressed="false"><bdi>'
            f"{escaped(printable(text))}</bdi><small>{found.probability(place):.3f}</small></button>"
        )


def _tokens(found: Attributions) -> Iterator[str]:
    """The source's tokens with the attributions of the whole answer."""
    sums = found.weights.sum(0).tolist()
    largest = largest_of([sums])
    for token, value, special in zip(found.source_tokens, sums, found.special, strict=True):
        share = 0.0 if special else value / largest
        shown = "" if special else number(value, signed=found.about.signed)
        sign = "lowers" if share < 0 else "raises"
        yield (
            f'<li class="token {sign}{" special" if special else ""}" style="--share:{abs(share):.3f}">'
            f"<bdi>{escaped(printable(token))}</bdi><small>{shown}</small></li>"
        )


def _table(found: Attributions) -> str:
    """All numbers: a row for each word, a column for each token."""
    if found.weights.numel() > MAX_TABLE_CELLS:
        return f"<p>{found.weights.numel():,} numbers; `weights` has them, and the JSON of antiphon explain.</p>"
    largest = largest_of(found.weights.tolist())
    heads = "".join(f'<th scope="col"><bdi>{escaped(printable(token))}</bdi></th>' for token in found.source_tokens)
    rows = []
    for text, row in zip(found.units, found.weights.tolist(), strict=True):
        cells = "".join(
            f'<td class="{"lowers" if value < 0 else "raises"}" style="--share:{abs(value) / largest:.3f}">'
            f"{number(value, signed=found.about.signed)}</td>"
            for value in row
        )
        rows.append(f'<tr><th scope="row"><bdi>{escaped(printable(text))}</bdi></th>{cells}</tr>')
    return f'<table><thead><tr><th scope="col">word</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _data(found: Attributions) -> str:
    data = {
        "weights": found.weights.tolist(),
        "special": found.special,
        "signed": found.about.signed,
        "units": [*map(printable, found.units)],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
