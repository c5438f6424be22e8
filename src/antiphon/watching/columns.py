"""The rows of a log as columns of numbers, which are appended quickly and sent as bytes.

columns = FigureColumns()
columns.extend(rows)                                  # dictionaries of metrics.jsonl
columns.bytes_of(["step", "loss"], start=0)           # little-endian: float64 for positions, float32 for figures
"""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, groupby
from operator import eq, itemgetter, lt
from typing import Any

POSITIONS = ("step", "time_seconds", "tokens")  # float64: a float32 is exact up to 2**24 only
ABSENT = math.nan  # in a column: the row has no such figure. Infinite: it has, but no finite one
_LARGEST = 1e300
_NO_FIGURES = {*POSITIONS, "epoch", "averaged"}

Row = dict[str, Any]


class FigureColumns:
    """Columns of equal length. `tokens` are the real tokens of training so far: as logged, or else the integral of
    `tokens_per_second` over the time of training, which is their definition up to rounding."""

    def __init__(self) -> None:
        self.positions = {name: array("d") for name in POSITIONS}
        self.figures: dict[str, array[float]] = {}
        self.last: dict[str, float] = {}
        self._at_row = (0.0, 0.0, 0.0)  # time and tokens at the last row with a rate, and this rate

    def __len__(self) -> int:
        return len(self.positions["step"])

    def extend(self, rows: Sequence[Row]) -> bool:
        """Append rows. Where a step is smaller than the one before, the log repeats steps: the earlier rows of these
        steps are dropped. Returns whether rows were dropped."""
        dropped, start = False, 0
        steps = [*self.positions["step"][-1:], *map(itemgetter("step"), rows)]
        earlier = len(steps) - len(rows)
        if any(map(lt, steps[1:], steps)):
            for place in range(1, len(steps)):
                if steps[place] < steps[place - 1]:
                    self._append(rows[start : place - earlier])
                    self._drop_from(steps[place])
                    dropped, start = True, place - earlier
        self._append(rows[start:])
        return dropped

    def bytes_of(self, names: Iterable[str], *, start: int) -> list[bytes]:
        """The columns of `names` from row `start`, each padded to a multiple of 8 bytes."""
        return [_little_endian((self.positions.get(name) or self.figures[name])[start:]) for name in names]

    def _append(self, rows: Sequence[Row]) -> None:
        # Long logs have stretches of rows with the same names, whose columns are made without a loop in Python.
        for names, stretch in groupby(rows, key=tuple):
            self._append_stretch(names, list(stretch))

    def _append_stretch(self, names: Sequence[str], rows: Sequence[Row]) -> None:
        before = len(self)
        times, tokens = self._times_and_tokens(rows)
        self.positions["step"].extend(map(itemgetter("step"), rows))
        self.positions["time_seconds"].extend(times)
        self.positions["tokens"].extend(tokens)
        found = [name for name in names if name not in _NO_FIGURES]
        for name in found:
            values = _numbers([row[name] for row in rows])
            if name in self.figures or any(map(eq, values, values)):  # a text is never a figure
                self._append_figure(name, values, before)
        for name in self.figures.keys() - set(found):
            self.figures[name].extend(array("f", [ABSENT]) * len(rows))

    def _append_figure(self, name: str, values: array[float], before: int) -> None:
        if name not in self.figures:
            self.figures[name] = array("f", [ABSENT]) * before
        self.figures[name].extend(values)
        last = next((value for value in reversed(values) if value == value), None)
        if last is not None:
            self.last[name] = last

    def _times_and_tokens(self, rows: Sequence[Row]) -> tuple[array[float], array[float]]:
        if {"time_seconds", "tokens", "tokens_per_second"} <= rows[0].keys():
            times, tokens, rates = (_doubles(rows, name) for name in ("time_seconds", "tokens", "tokens_per_second"))
            if times is not None and tokens is not None and rates is not None:
                self._at_row = (times[-1], tokens[-1], rates[-1])
                return self._rising("time_seconds", times), self._rising("tokens", tokens)
        return self._integrated(rows)

    def _integrated(self, rows: Sequence[Row]) -> tuple[array[float], array[float]]:
        times, tokens = array("d"), array("d")
        time = self.positions["time_seconds"][-1] if len(self) else 0.0
        at_time, at_count, rate = self._at_row
        for row in rows:
            time = _number(row.get("time_seconds"), otherwise=time)
            own = row.get("tokens_per_second")
            rate = rate if own is None else _number(own, otherwise=rate)  # that of the steps since the row before
            count = _number(row.get("tokens"), otherwise=at_count + rate * (time - at_time))
            if own is not None or "tokens" in row:
                at_time, at_count = time, count
            times.append(time)
            tokens.append(count)
        self._at_row = (at_time, at_count, rate)
        return self._rising("time_seconds", times), self._rising("tokens", tokens)

    def _rising(self, name: str, values: array[float]) -> array[float]:
        """Positions that never fall, since places are found by halving: the estimate for a validation may be beyond
        the next logged row."""
        before = self.positions[name][-1:]
        joined = before + values
        if any(map(lt, joined[1:], joined)):
            return array("d", accumulate(joined, max))[len(before) :]
        return values

    def _drop_from(self, step: float) -> None:
        """Drop the rows whose step is `step` or larger, so that those that repeat them can follow."""
        count = bisect_left(self.positions["step"], step)
        for column in (*self.positions.values(), *self.figures.values()):
            del column[count:]
        if count:
            self._at_row = (self.positions["time_seconds"][-1], self.positions["tokens"][-1], self._at_row[2])
        else:
            self._at_row = (0.0, 0.0, 0.0)


def _numbers(values: Sequence[Any]) -> array[float]:
    """`values` as float32, to which numbers out of its range are infinite; what is no number is absent."""
    try:
        return array("f", values)
    except (TypeError, OverflowError):
        return array("f", [_number(value, otherwise=ABSENT) for value in values])


def _doubles(rows: Sequence[Row], name: str) -> array[float] | None:
    """A column as float64; None if any value is no finite number."""
    try:
        found = array("d", map(itemgetter(name), rows))
    except (TypeError, OverflowError):
        return None
    return found if max(map(abs, found)) < _LARGEST else None


def _number(value: object, *, otherwise: float) -> float:
    """`value`, or `otherwise` if it is no finite number (JSON's NaN and infinities have been read as -inf)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    return float(value) if abs(value) < _LARGEST else -math.inf


def _little_endian(column: array[float]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    data = column.tobytes()
    return data + bytes(-len(data) % 8)
