"""Bootstrap resampling over segments (Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation").

The test set is resampled with replacement SAMPLES times; the spread of the scores gives a confidence interval. The
samples are those of sacreBLEU's `--confidence` (numpy's default generator, seed 12345), so intervals are reproducible
and comparable with other tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

SAMPLES = 1000
SEED = 12345


class ConfidenceInterval(NamedTuple):
    """The bounds of a 95 % confidence interval."""

    low: float
    high: float


def draws(segments: int, *, samples: int = SAMPLES, seed: int = SEED) -> Iterator[np.ndarray]:
    """For each sample, how often it contains each segment: (segments,) counts that add up to `segments`."""
    import numpy as np  # sacrebleu brings it

    generator = np.random.default_rng(seed)
    for _ in range(samples):  # set by set: all at once would take samples x segments x 8 bytes
        yield np.bincount(generator.choice(segments, size=segments, replace=True), minlength=segments)


def interval_of(
    statistics: Sequence[Sequence[float]], score_of: Callable[[np.ndarray], float], *, samples: int = SAMPLES
) -> ConfidenceInterval:
    """The 95 % interval of a score: `statistics` has one row a segment, and `score_of` maps the sum of rows to it."""
    return _middle(_drawn(statistics, score_of, samples=samples, seed=SEED))


def macro_interval(
    groups: Sequence[tuple[Sequence[Sequence[float]], Callable[[np.ndarray], float]]], *, samples: int = SAMPLES
) -> ConfidenceInterval:
    """The 95 % interval of the macro mean over groups, each with its (statistics, score_of).

    Each group is resampled separately with a different seed, so that the samples of groups are independent.
    """
    means = [0.0] * samples
    for number, (statistics, score_of) in enumerate(groups):
        for sample, score in enumerate(_drawn(statistics, score_of, samples=samples, seed=SEED + number)):
            means[sample] += score / len(groups)
    return _middle(means)


def _drawn(
    statistics: Sequence[Sequence[float]], score_of: Callable[[np.ndarray], float], *, samples: int, seed: int
) -> Iterator[float]:
    """The scores of the samples."""
    import numpy as np

    table = np.asarray(statistics, dtype=np.float64)
    return (float(score_of(count @ table)) for count in draws(len(table), samples=samples, seed=seed))


def _middle(scores: Iterable[float]) -> ConfidenceInterval:
    """The range of the scores without the lowest and the highest 2.5 %."""
    ordered = sorted(scores)
    cut = len(ordered) // 40
    return ConfidenceInterval(ordered[cut], ordered[-1 - cut])
