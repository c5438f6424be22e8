"""The figures of a finished run, from its folder."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from antiphon.models.folders.checkpoint import WEIGHTS
from antiphon.training.reporting.record import read_rows


def run_figures(folder: Path) -> dict[str, Any]:
    """The results of a finished run: its last validation, and the medians of the figures logged during training."""
    rows = read_rows(folder)
    measured = [row for row in rows if "tokens_per_second" in row]
    last = next((row for row in reversed(rows) if "valid_loss" in row), {})
    return {
        "parameters": _count(folder / "model" / WEIGHTS),
        "trainable_parameters": measured[-1].get("trainable_parameters") if measured else None,
        "steps": rows[-1]["step"],
        **{key: value for key, value in last.items() if key not in ("step", "epoch", "time_seconds")},
        "tokens_per_second": statistics.median(row["tokens_per_second"] for row in measured) if measured else None,
        "peak_memory_bytes": max((row["peak_memory_bytes"] for row in measured), default=None),
        "minutes": rows[-1]["time_seconds"] / 60,
    }


def _count(file: Path) -> int:
    """The number of values in a safetensors file, from its header."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
