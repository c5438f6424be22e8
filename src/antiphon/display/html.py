"""HTML elements: tables, badges, tokens, bars, and the panel around them."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from antiphon.display.colours import CURVES
from antiphon.errors import printable

_FRAME = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45;max-width:100%;overflow-x:auto;padding:2px"
_TABLE = "border-collapse:collapse;table-layout:auto;margin:4px 0 8px 0;font-size:13px;border:none"
_CELL = "padding:3px 12px 3px 2px;vertical-align:top;border:none;border-bottom:1px solid rgba(128,128,128,.3)"
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;max-width:30em;text-align:left"
_RIGHT = "text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"
_MARKS = "\u00ad\u200c\u200d\u200e\u200f"
_TOKEN = (
    "display:inline-block;margin:1px 2px;padding:0 4px;border:1px solid rgba(128,128,128,.5);border-radius:3px;"
    "font-family:ui-monospace,monospace;font-size:12px;white-space:pre-wrap;overflow-wrap:anywhere"
)


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML with escaped texts."""

    html: str


def escaped(text: str) -> str:
    """Escape `text` for an HTML element or attribute. Control characters and lone surrogates are shown as escapes; line
    ends, tabs, and the joiners and direction marks that some scripts need are kept."""
    return html.escape("".join(printable(letter) if _hidden(letter) else letter for letter in text))


def isolated(text: str) -> str:
    """`text`, escaped, in an element that isolates its direction from the text around it."""
    return f"<bdi>{escaped(text)}</bdi>"


def table(head: Sequence[str], rows: Iterable[Sequence[str | Markup]], *, right: Collection[int] = ()) -> Markup:
    """A table; columns in `right` are right-aligned. An empty `head` is left out."""
    lines = []
    if head:
        cells = (
            f'<th style="{_CELL};{_RIGHT if place in right else _TEXT};font-weight:600">{isolated(name)}</th>'
            for place, name in enumerate(head)
        )
        lines.append(f'<thead><tr style="background:none">{"".join(cells)}</tr></thead>')
    lines.append("<tbody>")
    for row in rows:
        cells = (
            f'<td style="{_CELL};{_RIGHT if place in right else _TEXT}">{_inside(cell)}</td>'
            for place, cell in enumerate(row)
        )
        lines.append(f'<tr style="background:none">{"".join(cells)}</tr>')
    return Markup(f'<table style="{_TABLE}">{"".join(lines)}</tbody></table>')


def badge(text: str, colour: str) -> Markup:
    """A short text with a colour; the text has the meaning without the colour."""
    style = f"border-left:4px solid {colour};padding-left:6px;font-weight:600;white-space:nowrap"
    return Markup(f'<span style="{style}">{escaped(text)}</span>')


def tokens(each: Iterable[str]) -> Markup:
    """Tokens in boxes, from left to right."""
    return Markup("".join(f'<bdi style="{_TOKEN}">{html.escape(printable(token))}</bdi>' for token in each))


def bar(share: float | None, *, width: str = "100%") -> Markup:
    """A bar filled to `share` in 0..1; None (unknown): a hatched bar."""
    filled = 100.0 if share is None else 100 * min(max(share, 0.0), 1.0)
    ground = CURVES[0]
    if share is None:
        ground = "repeating-linear-gradient(45deg,rgba(128,128,128,.15) 0 8px,rgba(128,128,128,.4) 8px 16px)"
    return Markup(
        f'<div style="width:{width};height:10px;border-radius:5px;background:rgba(128,128,128,.25);margin:4px 0">'
        f'<div style="width:{filled:.1f}%;height:10px;border-radius:5px;background:{ground}"></div></div>'
    )


def note(text: str, *, strong: bool = False) -> Markup:
    """A line in a weaker style, or with `strong` in a stronger one."""
    style = f"{'font-weight:600' if strong else 'opacity:.75'};white-space:pre-wrap;overflow-wrap:anywhere"
    return Markup(f'<div style="{style}">{isolated(text)}</div>')


def details(summary: str, *parts: Markup) -> Markup:
    """Parts that are folded under `summary`."""
    inside, style = "".join(part.html for part in parts), "cursor:pointer;opacity:.75"
    return Markup(f'<details><summary style="{style}">{isolated(summary)}</summary>{inside}</details>')


def preformatted(text: str) -> Markup:
    """Text in a monospaced font."""
    style = (
        "font-family:ui-monospace,monospace;font-size:12px;white-space:pre;margin:4px 0;background:none;color:inherit"
    )
    return Markup(f'<pre style="{style}">{escaped(text)}</pre>')


def joined(*parts: Markup) -> Markup:
    """Parts one after the other."""
    return Markup("".join(part.html for part in parts))


def side_by_side(parts: Iterable[Markup]) -> Markup:
    """Parts next to each other, wrapped at the width of the page."""
    inside = "".join(f'<div style="flex:0 1 auto;min-width:0">{part.html}</div>' for part in parts)
    return Markup(f'<div style="display:flex;flex-wrap:wrap;gap:8px 20px;align-items:flex-start">{inside}</div>')


def panel(title: str, *parts: Markup) -> str:
    """The complete HTML for a notebook: a title and parts."""
    inside = "".join(part.html for part in parts)
    return f'<div style="{_FRAME}"><div style="font-weight:600">{isolated(title)}</div>{inside}</div>'


def _inside(cell: str | Markup) -> str:
    return cell.html if isinstance(cell, Markup) else isolated(cell)


def _hidden(letter: str) -> bool:
    """Whether a character is a control character, a lone surrogate, or a direction override."""
    if letter in "\n\t" or letter.isprintable():
        return False
    return unicodedata.category(letter) != "Zs" and letter not in _MARKS
