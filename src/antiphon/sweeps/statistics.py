"""Student's t for small numbers of runs: intervals of means, and Welch's test of two means.

>>> round(welch([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), 4)
0.0213

References: Welch 1947, "The generalization of Student's problem when several different population variances are
involved"; the incomplete beta function by its continued fraction (DLMF 8.17.22).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p of equal means, for samples with different variances. 1 or 0 where neither sample varies; NaN for
    a sample of fewer than two values."""
    if min(len(first), len(second)) < 2:
        return math.nan
    parts = [statistics.variance(values) / len(values) for values in (first, second)]
    difference = statistics.fmean(first) - statistics.fmean(second)
    if sum(parts) == 0:
        return 1.0 if difference == 0 else 0.0
    degrees = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    return two_sided(difference / math.sqrt(sum(parts)), degrees)


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float] | None:
    """The interval of the mean of a normal sample; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = quantile(1 - level, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def two_sided(t: float, degrees: float) -> float:
    """The probability that |T| of Student's distribution exceeds |t|."""
    return incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5)


def quantile(p: float, degrees: float) -> float:
    """The t above 0 with `two_sided(t, degrees) == p`, by bisection."""
    low, high = 0.0, 1.0
    while two_sided(high, degrees) > p:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, degrees) > p else (low, middle)
    return high


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges fast
        return 1 - incomplete_beta(1 - x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logarithm) / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction 1 + d1/(1 + d2/(1 + ...)) of I_x, by the modified method of Lentz."""
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    for number in range(1, 500):
        half = number // 2
        if number % 2:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value
