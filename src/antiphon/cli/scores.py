"""Formats the scores of a report as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.evaluation.evaluate import Report
    from antiphon.evaluation.groups import Grouped, Macro
    from antiphon.evaluation.result import MetricResult


def as_table(report: Report, by: str = "") -> str:
    """Name, score, interval and signature of each metric, one a line; then tables of metrics, and the scores of groups.

    `by` is the kind of groups: tag or file.
    """
    width = max(map(len, report))
    lines = []
    for name, result in report.items():
        interval = f"[{result.interval.low:.2f}, {result.interval.high:.2f}]" if result.interval else ""
        lines.append(f"{name:<{width}}  {result.score:6.2f}  {interval:<16}  {result.signature}".rstrip())
    for result in report.values():
        if result.table:
            lines += ["", result.table]
    if report.grouped is not None:
        lines += ["", *_groups(report.grouped, by)]
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
