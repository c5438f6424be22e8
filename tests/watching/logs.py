"""Logs of runs as training writes them, for the tests of the page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def training_row(step: int, *, offset: float = 0.0, **more: Any) -> dict[str, Any]:
    """A row of training figures: 10 steps a second of 150 tokens each."""
    loss = 5 * math.exp(-step / 200) + 0.2 + offset
    return {
        "step": step, "epoch": 1 + step // 500, "time_seconds": step / 10, "loss": loss, "nll": loss, "lr": 1e-3,
        "grad_norm": 1.5, "tokens": 150 * step, "tokens_per_second": 1500.0, "padding_waste": 0.1,
        "step_seconds": 0.1, "seconds_left": max(0.0, (1000 - step) / 10), "peak_memory_bytes": 500_000_000, **more,
    }  # fmt: skip


def validation_row(step: int, **figures: float) -> dict[str, Any]:
    """A row of a validation."""
    return {
        "step": step,
        "epoch": 1,
        "time_seconds": step / 10,
        "valid_loss": 5 * math.exp(-step / 250) + 0.3,
        **figures,
    }


def sample_row(step: int, source: str, reference: str, answer: str) -> dict[str, Any]:
    """A row of samples.jsonl."""
    return {"step": step, "source": source, "reference": reference, "answer": answer}


def append(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a log, as training does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def make_run(folder: Path, *, steps: int = 1000, offset: float = 0.0, metrics: tuple[str, ...] = ("bleu",)) -> Path:
    """A run with a row every 10 steps, a validation every 200, samples and a recipe."""
    rows: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        rows.append(training_row(step, offset=offset))
        if step % 200 == 0:
            figures = {name: 40 * (1 - math.exp(-step / 300)) - 10 * offset for name in metrics}
            rows.append(validation_row(step, **figures, entropy_cross=2 - step / 1000))
    append(folder / "metrics.jsonl", rows)
    answers = {200: "in 3 Tagen", 400: "in 3 Stunde", 600: "in 3 Stunden"}
    samples = [
        sample_row(step, "in 3 hours", "in 3 Stunden", answers[min(step, 600)]) for step in range(200, steps + 1, 200)
    ]
    append(folder / "samples.jsonl", samples)
    (folder / "config.yaml").write_text(f"training: {{lr: {1e-3 + offset}, optimizer: adamw}}\noutput: {folder.name}\n")
    return folder
