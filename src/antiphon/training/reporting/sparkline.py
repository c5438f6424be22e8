"""Curves of a run in one line of text.

curves = Sparklines()
curves.add({"step": 50, "loss": 3.2}); curves.add({"step": 100, "valid_loss": 2.1, "bleu": 12.5})
curves.line(79)                        # "loss 7.21 █▇▅▄▃▂▂▁▁ 0.124   bleu 0.31 ▁▂▄▆▇▇█ 38.9"
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from antiphon.training.reporting.rows import MetricRows

BLOCKS = "▁▂▃▄▅▆▇█"
GAP = "·"  # values that are not finite
BETWEEN = "   "
MAX_COLUMNS, MIN_COLUMNS = 60, 6  # of a curve
MAX_VALUES = 1024  # of a figure; of a longer history the means of 2, 4, 8, ... values are stored
LOG_RATIO = 10.0  # a loss whose values differ by more than this factor is drawn on a log axis


class Sparklines:
    """The training loss and the first validation metric (or the validation loss) of a run as sparklines."""

    def __init__(self) -> None:
        self._histories: dict[str, ValueHistory] = {}
        self._metric = "valid_loss"

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the figures of a row of `metrics.jsonl`."""
        names = {"loss"} if "valid_loss" not in row else {"valid_loss"}
        if "valid_loss" in row:
            metrics = MetricRows([dict(row)]).metrics
            self._metric = metrics[0] if metrics and self._metric == "valid_loss" else self._metric
            names.add(self._metric)
        for name in names:
            value = row.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._histories.setdefault(name, ValueHistory()).add(float(value))

    def line(self, width: int) -> str:
        """The curves in at most `width` columns: both, else the loss alone; empty before there are two values, and
        where there is no space."""
        loss = self._curve("loss", width)
        metric = self._curve(self._metric, (width - len(BETWEEN)) // 2)
        if not loss or not metric:
            return loss or metric
        # Validations are few: the loss has the columns that they leave.
        beside = self._curve("loss", width - len(BETWEEN) - len(metric))
        return f"{beside}{BETWEEN}{metric}" if beside else loss

    def _curve(self, name: str, width: int) -> str:
        """A curve with its name, its first and its last value; empty if there are no two values, or no space."""
        history = self._histories.get(name)
        if history is None or len(history.values) < 2:
            return ""
        first, last = f"{history.first:.3g}", f"{history.last:.3g}"
        columns = min(MAX_COLUMNS, width - len(name) - len(first) - len(last) - 3)
        if columns < MIN_COLUMNS:
            return ""
        finite = [value for value in history.values if math.isfinite(value)]
        falls = bool(finite) and min(finite) > 0 and max(finite) > LOG_RATIO * min(finite)
        return f"{name} {first} {sparkline(history.values, columns, log=falls and name.endswith('loss'))} {last}"


class ValueHistory:
    """The values of a figure in order, as at most MAX_VALUES means of equally many values."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.first, self.last = math.nan, math.nan
        self._each, self._open = 1, []

    def add(self, value: float) -> None:
        """Append a value."""
        if not self.values:
            self.first = value
        self.last = value
        self._open.append(value)
        if len(self._open) == self._each:
            self.values.append(_mean(self._open))
            self._open = []
        if len(self.values) == MAX_VALUES:
            self.values = [_mean(self.values[place : place + 2]) for place in range(0, MAX_VALUES, 2)]
            self._each *= 2


def sparkline(values: Sequence[float], columns: int, *, log: bool = False) -> str:
    """`values` as at most `columns` block characters, from the lowest value to the highest. Each column is the mean of
    its values. `log`: heights by the logarithm, for positive values."""
    columns = min(columns, len(values))
    bounds = [place * len(values) // columns for place in range(columns + 1)]
    means = [_mean(values[start:stop]) for start, stop in pairwise(bounds)]
    heights = [math.log(mean) if log and mean == mean else mean for mean in means]
    finite = [height for height in heights if math.isfinite(height)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    return "".join(_block(height, low, high) for height in heights)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def _block(height: float, low: float, high: float) -> str:
    if not math.isfinite(height):
        return GAP
    share = (height - low) / (high - low) if high > low else 0.0
    return BLOCKS[min(len(BLOCKS) - 1, int(share * len(BLOCKS)))]
