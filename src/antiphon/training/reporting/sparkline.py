"""Curves of a run in one line of text.

curves = Sparklines()
curves.add({"step": 50, "loss": 3.2}); curves.add({"step": 100, "valid_loss": 2.1, "bleu": 12.5})
curves.line(79)                        # "loss 7.21 █▇▅▄▃▂▂▁▁ 0.124    bleu 0.31 ▁▂▄▆▇▇█ 38.9"
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.training.reporting.rows import MetricRows

BLOCKS = "▁▂▃▄▅▆▇█"
GAP = "·"  # values that are not finite
MAX_COLUMNS, MIN_COLUMNS = 60, 6  # of a curve
MAX_VALUES = 4096  # of a figure; a longer history is thinned
LOG_RATIO = 10.0  # a loss whose values differ by more than this factor is drawn on a log axis


class Sparklines:
    """The training loss and the first validation metric (or the validation loss) of a run as sparklines."""

    def __init__(self) -> None:
        self._loss: list[float] = []
        self._validations: dict[str, list[float]] = {}
        self._metric = "valid_loss"

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the figures of a row of `metrics.jsonl`."""
        if "valid_loss" in row:
            named = MetricRows([dict(row)]).metrics
            if named and self._metric == "valid_loss":
                self._metric = named[0]
            for name in {self._metric, "valid_loss"} & set(row):
                _append(self._validations.setdefault(name, []), row[name])
        elif "loss" in row:
            _append(self._loss, row["loss"])

    def line(self, width: int) -> str:
        """The curves in at most `width` columns: both, else the loss alone; empty before there are two values, and
        where there is no space."""
        found = {"loss": self._loss, self._metric: self._validations.get(self._metric, [])}
        curves = {name: values for name, values in found.items() if len(values) > 1}
        while curves:
            between = 3 * (len(curves) - 1)
            each = (width - between) // len(curves)
            parts = [_curve(name, values, each) for name, values in curves.items()]
            if all(parts):
                return (" " * 3).join(parts)
            curves.popitem()  # no space for both
        return ""


def sparkline(values: Sequence[float], columns: int, *, log: bool = False) -> str:
    """`values` as at most `columns` block characters, from the lowest value to the highest. Each column is the mean of
    its values. `log`: heights by the logarithm, for positive values."""
    columns = min(columns, len(values))
    bounds = [place * len(values) // columns for place in range(columns + 1)]
    means = [_mean(values[start:stop]) for start, stop in zip(bounds, bounds[1:], strict=False)]
    heights = [math.log(mean) if log and mean == mean else mean for mean in means]
    finite = [height for height in heights if math.isfinite(height)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    return "".join(_block(height, low, high) for height in heights)


def _curve(name: str, values: Sequence[float], width: int) -> str:
    """A curve with its name, its first and its last value; empty if `width` is too small."""
    first, last = (f"{value:.3g}" for value in (values[0], values[-1]))
    columns = min(MAX_COLUMNS, width - len(name) - len(first) - len(last) - 3)
    if columns < MIN_COLUMNS:
        return ""
    finite = [value for value in values if math.isfinite(value)]
    log = name in ("loss", "valid_loss") and bool(finite) and min(finite) > 0 and max(finite) > LOG_RATIO * min(finite)
    return f"{name} {first} {sparkline(values, columns, log=log)} {last}"


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def _block(height: float, low: float, high: float) -> str:
    if not math.isfinite(height):
        return GAP
    share = (height - low) / (high - low) if high > low else 0.0
    return BLOCKS[min(len(BLOCKS) - 1, int(share * len(BLOCKS)))]


def _append(values: list[float], value: object) -> None:
    """Append a figure. A list of MAX_VALUES is first replaced by the means of its pairs, so that it stays short."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if len(values) >= MAX_VALUES:
        values[:] = [_mean(values[place : place + 2]) for place in range(0, len(values), 2)]
    values.append(float(value))
