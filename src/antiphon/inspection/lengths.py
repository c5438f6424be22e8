"""Lengths of texts as counts: quantiles and a histogram."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BARS = 16  # of a histogram


@dataclass(frozen=True)
class Lengths:
    """The mean, quantiles (median, 90 %, 99 %) and the maximum of lengths, and a histogram.

    `bars` are (from, to, texts): equally wide ranges up to the 99 % quantile, then one for the rest.
    """

    count: int
    mean: float
    median: int
    p90: int
    p99: int
    longest: int
    bars: list[tuple[int, int, int]]


def lengths_of(sizes: Iterable[int]) -> Lengths:
    """The lengths of texts, given one by one."""
    import numpy as np

    known = np.fromiter(sizes, np.int64)
    return from_counts(np.bincount(known) if len(known) else np.zeros(1, np.int64))


def from_counts(counts: NDArray[np.int64], longest: int | None = None) -> Lengths:
    """The lengths of which `counts[n]` texts have n; `longest` if the last entry stands for longer ones too."""
    import numpy as np

    total = int(counts.sum())
    if not total:
        return Lengths(0, 0.0, 0, 0, 0, 0, [])
    summed = np.cumsum(counts)
    median, p90, p99 = (int(np.searchsorted(summed, share * total)) for share in (0.5, 0.9, 0.99))
    last = int(counts.nonzero()[0][-1])
    mean = float((counts * np.arange(len(counts))).sum() / total)
    return Lengths(total, mean, median, p90, p99, max(last, longest or 0), _bars(counts, p99, last, longest))


def _bars(counts: NDArray[np.int64], p99: int, last: int, longest: int | None) -> list[tuple[int, int, int]]:
    width = max(1, -(-(p99 + 1) // BARS))
    bars = []
    for start in range(0, p99 + 1, width):
        end = min(start + width - 1, last)
        bars.append((start, end, int(sum(counts[start : end + 1]))))
    if bars[-1][1] < last:
        bars.append((bars[-1][1] + 1, max(last, longest or 0), int(sum(counts[bars[-1][1] + 1 :]))))
    return bars
