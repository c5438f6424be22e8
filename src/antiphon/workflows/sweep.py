"""The runs of a recipe with `variants`, one after the other, and what they gave, side by side.

    rows = sweep("recipes/attention-bakeoff.yaml", ["--threads", "1"])
    rows[0]["variant"], rows[0]["bleu"], rows[0]["tokens_per_second"]

Each run is a process of its own, so that peak memory is its own too, and one that fails leaves the others alone. What
is finished already is not run again (`--resume`). Ctrl-C and SIGTERM reach the run that is under way, which saves; a
second one ends it at once.
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

    `flags` go to each `antiphon train`; `overrides` are those among them that are settings, to find the runs. Raises
    ConfigError before the first run if any variant is wrong, WorkError after the last if one of them failed; after a
    signal and the save of the run that it stopped KeyboardInterrupt, or SystemExit(143) for SIGTERM.
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
    """The exit code of a command, which gets our signals and is waited for; afterwards we end as they asked."""
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if child is not None:
            child.send_signal(number)

    hears = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)} if hears else {}
    try:
        # A group of its own: a terminal sends Ctrl-C to the whole group, and what we pass on would be the second one.
        child = subprocess.Popen(command, process_group=0)
        for number in [*received]:  # it came before there was a child
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
    """What a finished run gave: its last validation, and the middle of what was measured on the way."""
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
    """The rows as a Markdown table, each figure as people read it.

    Of a terminal with `width` columns, what does not fit stands in further tables below, each with the variants' names;
    only a name or a title that would not fit beside any figure is cut, with `…`.
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
    """Numbers in a safetensors file, read off its header."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as weights:
        return sum(_product(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118


def _product(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
