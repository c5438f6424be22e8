"""A whole HTML page in one file, without scripts and requests: reports, comparisons, sweeps.

    document("runs/a", kind="report", lead="done", sections=[("data", "Data", table(...))], footer=["Made by …"])

All strings are escaped; only `Markup` is inserted unchanged. The style is `document.css`, for light and dark and any
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from antiphon.display.html import Markup, escaped, isolated

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
Section = tuple[str, str, Markup]  # anchor, title, contents


def document(
    heading: str,
    *,
    kind: str,
    lead: str,
    sections: Sequence[Section],
    footer: Sequence[str],
    beside: Markup | None = None,
    style: str = "",
    pictures: bool = False,
) -> str:
    """The page: `heading` with `beside` next to it, the line `lead`, links to the sections, a card for each, and the
    paragraphs of the footer. `kind` follows the heading in the title of the window; `style` is further CSS. `pictures`:
    the sections contain images, as data."""
    policy = f"{POLICY}; img-src data:" if pictures else POLICY
    css = resources.files("antiphon.display").joinpath("document.css").read_text(encoding="utf-8") + style
    links = "".join(f'<li><a href="#{anchor}">{escaped(title)}</a></li>' for anchor, title, _ in sections)
    cards = "".join(
        f'<section class="card" id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h2 id="{anchor}-title">{escaped(title)}</h2>{inside.html}</section>'
        for anchor, title, inside in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(heading)}: {escaped(kind)}</title><style>{css}</style></head><body>"
        f'<header><div class="title"><h1>{isolated(heading)}</h1>{"" if beside is None else beside.html}</div>'
        f'<p class="lead">{isolated(lead)}</p><nav aria-label="Sections"><ul>{links}</ul></nav></header>'
        f"<main>{cards}</main><footer>{''.join(f'<p>{escaped(line)}</p>' for line in footer)}</footer></body></html>\n"
    )
