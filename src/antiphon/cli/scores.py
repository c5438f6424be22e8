"""Formats the scores of a report as a table or as JSON."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.evaluation.groups import Grouped, Macro
    from antiphon.evaluation.measuring import Report
    from antiphon.evaluation.result import MetricResult


def as_table(report: Report, by: str = "", *, width: int | None = None) -> str:
    """Name, score, interval and signature of each metric, one a line; then tables of metrics, and the scores of groups.

    `by` is the kind of groups: tag or file. With `width` (the columns of a terminal), signatures that do not fit are
    put below their scores, and columns that do not fit in further tables, each with the first column.
    """
    longest = max(map(len, report))
    rows = []
    for name, result in report.items():
        interval = f"[{result.interval.low:.2f}, {result.interval.high:.2f}]" if result.interval else ""
        rows.append((f"{name:<{longest}}  {result.score:6.2f}  {interval:<16}", result.signature))
    lines = [f"{row}  {signature}".rstrip() for row, signature in rows]
    if width is not None and max(map(len, lines)) > width:
        lines = [line for row, signature in rows for line in (row.rstrip(), *_wrapped_signature(signature, width))]
    tables = [result.table for result in report.values() if result.table]
    if report.grouped is not None:
        tables.append("\n".join(_groups(report.grouped, by)))
    for table in tables:
        lines += ["", table if width is None else _split_table(table, width)]
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    """The report as one JSON object on one line."""
    content: dict[str, Any] = {
        "segments": len(report.answers),
        "seconds": report.seconds,
        "metrics": {name: _mapping(result) for name, result in report.items()},
    }
    if report.grouped is not None:
        sizes = report.grouped.sizes
        content["groups"] = {
            name: {"segments": sizes[name], "metrics": {metric: _mapping(result) for metric, result in found.items()}}
            for name, found in report.grouped.groups.items()
        }
        content["macro"] = {name: _figures(macro) for name, macro in report.grouped.macro.items()}
    return json.dumps(content, ensure_ascii=False) + "\n"


def _figures(result: MetricResult | Macro) -> dict[str, Any]:
    return {"score": result.score, "interval": result.interval}


def _mapping(result: MetricResult) -> dict[str, Any]:
    details: Mapping[str, Any] = {"details": dict(result.details)} if result.details else {}
    note = {"note": result.note} if result.note else {}
    return {**_figures(result), "signature": result.signature, **note, **details}


def _groups(grouped: Grouped, by: str) -> list[str]:
    """A row for each group, then the macro mean and its interval."""
    macro = grouped.macro
    rows = [[by, "pairs", *macro]]
    for name, found in grouped.groups.items():
        rows.append([name, f"{grouped.sizes[name]}", *(f"{result.score:.2f}" for result in found.values())])
    rows.append(["macro mean", "", *(f"{mean.score:.2f}" for mean in macro.values())])
    intervals = [mean.interval for mean in macro.values()]
    for place, label in enumerate(("  95 % from", "  to")):
        rows.append([label, "", *(f"{interval[place]:.2f}" if interval else "" for interval in intervals)])
    return _aligned(rows if any(intervals) else rows[:-2])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align cells in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def _wrapped_signature(signature: str, width: int) -> list[str]:
    """A signature in indented lines of at most `width` columns, split after a `|` if it has one."""
    free = max(1, width - 2)
    lines = [""]
    for part in re.findall(rf"[^|]{{1,{free - 1}}}\|?|\|", signature):
        if len(lines[-1]) + len(part) > free:
            lines.append("")
        lines[-1] += part
    return [f"  {line}" for line in lines if line]


def _split_table(table: str, width: int) -> str:
    """A table of at most `width` columns: those that do not fit stand in further tables, each with the first column.

    Columns end where all rows have two spaces or more; a line without two spaces in it is text, and is wrapped.
    """
    lines = table.split("\n")
    rows = [line for line in lines if "  " in line.strip()]
    longest = max(map(len, lines))
    if longest <= width or not rows:
        return "\n".join(textwrap.fill(line, width) if len(line) > width else line for line in lines)
    blank = [all(not row[place : place + 2].strip() for row in rows) for place in range(longest)]
    cuts = [place for place in range(1, longest) if blank[place] and not blank[place - 1]]
    first, *others = zip([0, *cuts], [*cuts, longest], strict=True)
    tables = [[first]]
    for column in others:
        used = sum(end - start for start, end in tables[-1])
        if len(tables[-1]) > 1 and used + column[1] - column[0] > width:
            tables.append([first])
        tables[-1].append(column)
    parts = ["\n".join("".join(_slice(row, *place) for place in part).rstrip() for row in rows) for part in tables]
    texts = [textwrap.fill(line, width) for line in lines if line not in rows]
    return "\n\n".join([*parts, *texts])


def _slice(row: str, start: int, end: int) -> str:
    return row[start:end].ljust(end - start)
