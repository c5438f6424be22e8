"""An attention map as lines of text: rows are queries, columns keys; each cell is shaded and has its weight in percent.

Without colours the numbers remain. Rows longer than the terminal are continued in a block below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from antiphon.display import shade
from antiphon.evaluation.maps.grid import Grid

CELL = 3  # columns of a cell: "100"
MAX_ROW_LABEL_COLUMNS, MAX_COLUMN_LABEL_LETTERS = 18, 12


def lines(grid: Grid, *, width: int = 80) -> Iterator[Text]:
    """The lines of a map, each at most `width` columns, which must be 60 or more."""
    rows = [_short(label, MAX_ROW_LABEL_COLUMNS) for label in grid.rows]
    margin = max(map(cell_len, rows), default=0) + 1
    yield Text(grid.title, style="bold")
    wide = max(map(cell_len, grid.columns), default=0) + 1
    flat = margin + len(grid.columns) * max(wide, CELL + 1) <= width
    cell = max(wide, CELL + 1) if flat else CELL
    most = max((width - margin) // cell, 1)
    for start in range(0, len(grid.columns), most):
        keys = range(start, min(start + most, len(grid.columns)))
        if start:
            yield Text("")
        if len(grid.columns) > most:
            yield Text(f"keys {start + 1} to {keys.stop} of {len(grid.columns)}", style="dim")
        if flat:
            yield Text(" " * margin + "".join(_centred(grid.columns[key], cell) for key in keys))
        else:
            yield from _upright([grid.columns[key] for key in keys], margin=margin)
        for row, label in enumerate(rows):
            line = Text(" " * (margin - 1 - cell_len(label)) + label + " ")
            for key in keys:
                line.append_text(_cell(float(grid.values[row, key]), grid.largest, cell))
            yield line


def _cell(value: float, largest: float, width: int) -> Text:
    percent = round(100 * value)
    share = value / largest
    red, green, blue = shade(share)
    ink = "#ffffff" if share > 0.5 else "#000000" if percent else "#9a9a9a"
    shown = _centred(str(percent) if percent else "·", width) if width > CELL else f"{percent or '·':>{width}}"
    return Text(shown, style=Style(color=ink, bgcolor=f"#{red:02x}{green:02x}{blue:02x}"))


def _upright(labels: Sequence[str], *, margin: int) -> Iterator[Text]:
    """Vertical labels, ending just above their column."""
    letters = [_letters(label) for label in labels]
    height = max(map(len, letters), default=0)
    for line in range(height):
        # Right-aligned, as the number in a cell is.
        yield Text(
            " " * margin
            + "".join(
                (" " * CELL if (place := line - height + len(each)) < 0 else _right(each[place], CELL))
                for each in letters
            )
        )


def _letters(label: str) -> list[str]:
    """The letters of a label with their combining marks, at most MAX_COLUMN_LABEL_LETTERS."""
    found: list[str] = []
    for letter in label:
        if found and cell_len(letter) == 0:
            found[-1] += letter
        else:
            found.append(letter)
    return found if len(found) <= MAX_COLUMN_LABEL_LETTERS else [*found[: MAX_COLUMN_LABEL_LETTERS - 1], "…"]


def _short(label: str, most: int) -> str:
    return label if cell_len(label) <= most else set_cell_size(label, most - 1).rstrip() + "…"


def _centred(text: str, width: int) -> str:
    free = max(width - cell_len(text), 0)
    return " " * (free - free // 2) + text + " " * (free // 2)


def _right(text: str, width: int) -> str:
    return " " * max(width - cell_len(text), 0) + text
