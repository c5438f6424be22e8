"""Formats figures, times and samples as terminal lines of limited width."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from antiphon.display import clock
from antiphon.errors import printable

UNKNOWN_WIDTH = 80
FIGURE_FORMATS = {  # key of a row -> format in a line
    "loss": "loss {:.3f}",
    "nll": "nll {:.3f}",
    "lr": "lr {:.2e}",
    "tokens_per_second": "{:,.0f} tokens/s",
    "padding_waste": "padding {:.0%}",
}
PRIORITY = ("loss", "tokens_per_second", "lr", "nll", "padding_waste")  # figures in order of importance, if not all fit
BAR_COLUMNS = 20


def terminal_width(stream: TextIO | None = None) -> int:
    """The columns of the terminal that `stream` (default: standard error) writes to; 80 if unknown or no terminal."""
    try:
        return os.get_terminal_size((stream or sys.stderr).fileno()).columns or UNKNOWN_WIDTH
    except (OSError, ValueError, AttributeError):
        return UNKNOWN_WIDTH


def figures(row: Mapping[str, Any]) -> str:
    """The figures of a row in one line."""
    return "  ".join(form.format(row[key]) for key, form in FIGURE_FORMATS.items() if key in row)


def fit(text: str, width: int) -> str:
    """`text` on one line of at most `width` columns: white space as single spaces, control characters as escapes."""
    from rich.text import Text

    line = Text(printable(" ".join(text.split())))
    line.truncate(max(1, width), overflow="ellipsis")
    return line.plain


def sample_line(source: str, answer: str, reference: str, width: int) -> str:
    """A sample in one line of at most `width` columns. If it does not fit, each text gets at least a third."""
    from rich.cells import cell_len

    mark = "=" if answer == reference else "≠"
    parts = [fit(text, 10**6) for text in (source, answer, reference)]
    left = width - len("    ") - len("  →  ") - len("  =  ")
    waiting = sorted(range(3), key=lambda number: cell_len(parts[number]))
    for rank, number in enumerate(waiting):  # the shortest first: the columns it does not need go to the others
        parts[number] = fit(parts[number], left // (3 - rank))
        left -= cell_len(parts[number])
    return f"    {parts[0]}  →  {parts[1]}  {mark}  {parts[2]}"


def live_line(step: int, total: int | None, row: Mapping[str, Any], note: str, width: int) -> str:
    """The progress of a run in at most `width` columns: the step and the time left first, then figures that fit."""
    head = f"step {step:,}" + (f"/{total:,}" if total else "")
    left = row.get("seconds_left")
    tail = "" if left is None else f"  {clock(left)} left"
    free = width - len(head) - len(tail)
    chosen = []
    for key in PRIORITY:
        text = f"  {FIGURE_FORMATS[key].format(row[key])}" if key in row else ""
        if text and len(text) <= free:
            chosen.append(key)
            free -= len(text)
    bar = f"  {_bar(step, total)}" if total and free >= BAR_COLUMNS + 2 else ""
    free -= len(bar)
    middle = "".join(f"  {form.format(row[key])}" for key, form in FIGURE_FORMATS.items() if key in chosen)
    note = f"  {note}" if note and len(note) + 2 <= free else ""
    return f"{head}{bar}{middle}{tail}{note}"[:width]


def _bar(step: int, total: int) -> str:
    full = min(BAR_COLUMNS, BAR_COLUMNS * step // total)
    return "━" * full + "╌" * (BAR_COLUMNS - full)
