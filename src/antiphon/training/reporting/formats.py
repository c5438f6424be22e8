"""How figures, times and samples read in a terminal, each within its width."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from antiphon.display import clock
from antiphon.errors import printable

UNKNOWN_WIDTH = 80
SHOWN = {  # key of a row -> how it reads in a line
    "loss": "loss {:.3f}",
    "nll": "nll {:.3f}",
    "lr": "lr {:.2e}",
    "tokens_per_second": "{:,.0f} tokens/s",
    "padding_waste": "padding {:.0%}",
}
RANKS = ("loss", "tokens_per_second", "lr", "nll", "padding_waste")  # which goes first where not all find room
BAR = 20  # columns


def terminal_width(stream: TextIO | None = None) -> int:
    """The columns of the terminal behind `stream`, by default standard error; 80 where there is none, or it does not
    say."""
    try:
        return os.get_terminal_size((stream or sys.stderr).fileno()).columns or UNKNOWN_WIDTH
    except (OSError, ValueError, AttributeError):
        return UNKNOWN_WIDTH


def figures(row: Mapping[str, Any]) -> str:
    """The figures of a row that people read."""
    return "  ".join(form.format(row[key]) for key, form in SHOWN.items() if key in row)


def fit(text: str, width: int) -> str:
    """`text` on one line of at most `width` columns: white space as single spaces, control characters as escapes."""
    from rich.text import Text

    line = Text(printable(" ".join(text.split())))
    line.truncate(max(1, width), overflow="ellipsis")
    return line.plain


def sample_line(source: str, answer: str, reference: str, width: int) -> str:
    """A sample in one line of at most `width` columns; where not all fits, each text gets a third at least."""
    from rich.cells import cell_len

    mark = "=" if answer == reference else "≠"
    parts = [fit(text, 10**6) for text in (source, answer, reference)]
    left = width - len("    ") - len("  →  ") - len("  =  ")
    waiting = sorted(range(3), key=lambda number: cell_len(parts[number]))
    for place, number in enumerate(waiting):  # the shortest first: what it does not need is the others'
        parts[number] = fit(parts[number], left // (3 - place))
        left -= cell_len(parts[number])
    return f"    {parts[0]}  →  {parts[1]}  {mark}  {parts[2]}"


def live_line(step: int, total: int | None, row: Mapping[str, Any], note: str, width: int) -> str:
    """Where a run stands, in at most `width` columns: the step and the time left first, then what finds room."""
    head = f"step {step:,}" + (f"/{total:,}" if total else "")
    left = row.get("seconds_left")
    tail = "" if left is None else f"  {clock(left)} left"
    room = width - len(head) - len(tail)
    chosen = []
    for key in RANKS:
        text = f"  {SHOWN[key].format(row[key])}" if key in row else ""
        if text and len(text) <= room:
            chosen.append(key)
            room -= len(text)
    bar = f"  {_bar(step, total)}" if total and room >= BAR + 2 else ""
    room -= len(bar)
    middle = "".join(f"  {form.format(row[key])}" for key, form in SHOWN.items() if key in chosen)
    note = f"  {note}" if note and len(note) + 2 <= room else ""
    return f"{head}{bar}{middle}{tail}{note}"[:width]


def _bar(step: int, total: int) -> str:
    full = min(BAR, BAR * step // total)
    return "━" * full + "╌" * (BAR - full)
