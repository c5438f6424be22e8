"""Tests of the difference of two systems on the same segments, and the correction for several comparisons.

- The paired bootstrap (Koehn 2004, section 3): the test set is drawn again with replacement, and both systems are
  scored on each sample. The spread of the differences is their 95 % interval. `bootstrap_p` is two-sided: the share of
  samples whose difference is at least as far from the one measured as that is from 0.
- Approximate randomisation (Riezler and Maxwell 2005, section 3): if both systems were equal, the answers of each
  segment could be exchanged. Each trial exchanges them by the toss of a coin; p is the share of trials whose difference
  is at least as large as the one measured, on either side.

Samples and trials are those of sacreBLEU's `PairedTest` (numpy's default generator, seed 12345), and so are the
p-values of randomisation in BLEU, chrF and TER, for which trials that equal the difference measured are not counted, as
in sacreBLEU (it matters in TER alone, where every hundredth trial may). `sacrebleu_p` is the p-value of its paired
bootstrap, whose formula finds a difference in about 10 % of pairs of equal systems at p < 0.05
(`benchmarks/significance.py`), so that no verdict rests on it. Every p is (count + 1) / (samples + 1), never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from antiphon.evaluation.bootstrap import SAMPLES, SEED, sampled_sums
from antiphon.evaluation.result import MetricResult

if TYPE_CHECKING:
    import numpy as np

TRIALS = 10_000
_EQUAL = 1e-9  # differences of scores that are rounding
_BLOCK_CELLS = 4_000_000  # tosses that are held at once
_BLOCK_ROWS = 32  # a multiple of this many bits leaves the stream of the generator as it is in one call


def bootstrap_scores(results: Sequence[MetricResult], *, samples: int = SAMPLES, seed: int = SEED) -> np.ndarray:
    """The score of each system on each sample, the same segments for all: (systems, samples)."""
    import numpy as np

    tables = [_table(result) for result in results]
    ends = np.cumsum([table.shape[1] for table in tables])[:-1]
    sums = np.split(sampled_sums(np.concatenate(tables, axis=1), samples=samples, seed=seed), ends, axis=1)
    return np.array([result.scores(each) for result, each in zip(results, sums, strict=True)])


def bootstrap_p(differences: np.ndarray, measured: float) -> float:
    """The two-sided p-value of the difference `measured`, from those of the samples."""
    return _p(int((abs(differences - measured) >= abs(measured) - _EQUAL).sum()), len(differences))


def sacrebleu_p(differences: np.ndarray, measured: float) -> float:
    """The p-value of sacreBLEU's paired bootstrap; 1 for systems that are equal on every sample, where it gives the
    smallest."""
    sizes = abs(differences)
    if not sizes.any():
        return 1.0
    return _p(int((sizes - sizes.mean() > abs(measured)).sum()), len(differences))


def randomisation_p(
    results: Sequence[MetricResult], *, trials: int = TRIALS, seed: int = SEED, ties: bool = True
) -> dict[tuple[int, int], float] | None:
    """The p-value of each pair of systems (by their places); None if their statistics cannot be exchanged.

    The tosses are the same for all pairs, so that the product of tosses and statistics is computed once a system. ties:
    count trials whose difference equals the one measured, as a valid p-value must. sacreBLEU does not; without them p
    is at least that of the two trials that exchange nothing or everything, 2 / 2**k for k segments that differ, so that
    no verdict rests on three segments.
    """
    import numpy as np

    tables = [_table(result) for result in results]
    segments, width = tables[0].shape
    if any(table.shape != (segments, width) for table in tables):
        return None
    stacked, count = np.concatenate(tables, axis=1), len(tables)
    totals = stacked.sum(0).reshape(count, width)
    whole = [float(result.scores(total[None])[0]) for result, total in zip(results, totals, strict=True)]
    reached = {(one, other): 0 for one in range(count) for other in range(one + 1, count)}
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK_CELLS // segments // _BLOCK_ROWS) * _BLOCK_ROWS
    for start in range(0, trials, rows):
        tosses = generator.integers(2, size=(min(rows, trials - start), segments), dtype=bool)
        taken = (tosses.astype(np.float64) @ stacked).reshape(len(tosses), count, width).swapaxes(0, 1)
        rest = totals[:, None] - taken
        for one, other in reached:
            first = results[one].scores(taken[one] + rest[other])
            second = results[other].scores(taken[other] + rest[one])
            measured = abs(whole[one] - whole[other])
            far = abs(first - second) >= measured - _EQUAL if ties else abs(first - second) > measured
            reached[one, other] += int(far.sum())
    found = {pair: _p(number, trials) for pair, number in reached.items()}
    if ties:
        return found
    differing = {(one, other): int((tables[one] != tables[other]).any(1).sum()) for one, other in found}
    return {pair: max(p, min(1.0, 2.0 ** (1 - differing[pair]))) for pair, p in found.items()}


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure").

    The chance that any of them is below 0.05 although no system differs is then at most 5 %.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = least
    return corrected


def _table(result: MetricResult) -> np.ndarray:
    import numpy as np

    return np.asarray(result.statistics, dtype=np.float64)


def _p(count: int, samples: int) -> float:
    return (count + 1) / (samples + 1)
