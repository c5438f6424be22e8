"""Sweeps: trains the variants of a recipe one after the other and tabulates their results.

    rows = sweep("recipes/attention-bakeoff.yaml", ["--threads", "1"])
    rows[0]["variant"], rows[0]["bleu"], rows[0]["tokens_per_second"]

Each run is a separate process, so that its peak memory can be measured and a failure does not affect the others.
Finished runs are not repeated (`--resume`). Ctrl-C and SIGTERM are passed to the current run, which saves; a second
signal ends it at once.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from antiphon.config import TrainConfig
from antiphon.errors import WorkError
from antiphon.models.folders.checkpoint import WEIGHTS, replace_file
from antiphon.recipe import read_recipe, variant_names
from antiphon.training.reporting.formats import fit
from antiphon.training.reporting.record import read_rows
from antiphon.training.signals import EXIT_TERMINATED

TABLE = "sweep.json"


def sweep(
    recipe: str | Path,
    flags: Sequence[str] = (),
    *,
    overrides: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Train every variant of `recipe` and return a row of figures for each; they are also written to `sweep.json`.

    `flags` are passed to each `antiphon train`; `overrides` are the settings among them, which are needed to find the
    run folders. Raises ConfigError before the first run if any variant is invalid, and WorkError after the last one if
    any failed. After Ctrl-C or SIGTERM, when the current run has saved, raises KeyboardInterrupt or SystemExit(143).
    """
    configs = {name: read_recipe(recipe, overrides, variant=name) for name in variant_names(recipe)}
    rows, failed = [], []
    for number, (name, config) in enumerate(configs.items(), 1):
        say(f"variant {number} of {len(configs)}: {name}")
        command = [sys.executable, "-m", "antiphon", "train", str(recipe), "--variant", name, *flags]
        if _run(command):
            failed.append(name)
        else:
            rows.append(figures(name, config))
    if rows:
        folder = Path(next(iter(configs.values())).output).parent
        replace_file(folder / TABLE, (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode())
    if failed:
        raise WorkError(
            f"{len(failed)} of {len(configs)} variants failed: {', '.join(failed)}. What they said is above."
        )
    return rows


def _run(command: Sequence[str]) -> int:
    """Run a command and return its exit code. Signals are passed on to it, and take effect here when it has ended."""
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if child is not None:
            child.send_signal(number)

    hears = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)} if hears else {}
    try:
        # In a separate process group: a terminal sends Ctrl-C to a whole group, and the child would get it twice.
        child = subprocess.Popen(command, process_group=0)
        for number in [*received]:  # signals that arrived before the child was started
            child.send_signal(number)
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    if received:
        raise SystemExit(EXIT_TERMINATED)
    return code


def figures(name: str, config: TrainConfig) -> dict[str, Any]:
    """The results of a finished run: its last validation, and the medians of the figures logged during training."""
    folder = Path(config.output)
    rows = read_rows(folder)
    measured = [row for row in rows if "tokens_per_second" in row]
    last = next((row for row in reversed(rows) if "valid_loss" in row), {})
    return {
        "variant": name,
        "parameters": _count(folder / "model" / WEIGHTS),
        "trainable_parameters": measured[-1].get("trainable_parameters") if measured else None,
        "steps": rows[-1]["step"],
        **{key: value for key, value in last.items() if key not in ("step", "epoch", "time_seconds")},
        "tokens_per_second": statistics.median(row["tokens_per_second"] for row in measured) if measured else None,
        "peak_memory_bytes": max((row["peak_memory_bytes"] for row in measured), default=None),
        "minutes": rows[-1]["time_seconds"] / 60,
    }


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


def _count(file: Path) -> int:
    """The number of values in a safetensors file, from its header."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as weights:
        return sum(_product(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118


def _product(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
