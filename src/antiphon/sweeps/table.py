"""Tables of the results of several runs, for a terminal or Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.training.reporting.formats import fit


def as_table(rows: Sequence[Mapping[str, Any]], *, width: int | None = None) -> str:
    """The rows as a Markdown table with formatted figures.

    With `width` (the columns of a terminal), columns that do not fit are moved to further tables below, each with the
    names of the variants. Only names and titles that are too long even for one column are cut, with `…`.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [[_TITLES.get(name, name), *(_shown(name, row.get(name)) for row in rows)] for name in names]
    if width is None or not columns:
        return _markdown(columns)
    first = _cut(columns[0], width // 2)
    free = width - _line_length([first])
    tables: list[list[list[str]]] = [[first]]
    for column in (_cut(column, free - 3) for column in columns[1:]):
        if len(tables[-1]) > 1 and _line_length([*tables[-1], column]) > width:
            tables.append([first])
        tables[-1].append(column)
    return "\n".join(map(_markdown, tables))


def _markdown(columns: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in zip(*columns, strict=True)
    ]
    return "\n".join([*lines[:1], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]) + "\n"


def _line_length(columns: Sequence[Sequence[str]]) -> int:
    return 1 + sum(3 + max(map(len, column)) for column in columns)


def _cut(column: Sequence[str], width: int) -> list[str]:
    return [fit(cell, width) for cell in column]


_TITLES = {
    "trainable_parameters": "trainable", "valid_loss": "valid loss", "tokens_per_second": "tokens/s",
    "peak_memory_bytes": "peak MiB",
}  # fmt: skip


def _shown(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if name == "peak_memory_bytes":
        return f"{value / 2**20:,.0f}"
    if name in ("parameters", "trainable_parameters", "steps", "tokens_per_second"):
        return f"{value:,.0f}"
    return f"{value:.3f}" if name == "valid_loss" else f"{value:.1f}"
