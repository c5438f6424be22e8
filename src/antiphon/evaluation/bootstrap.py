"""Bootstrap resampling over segments (Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation").

The test set is resampled with replacement SAMPLES times; the spread of the scores gives a confidence interval. The
samples are those of sacreBLEU's `--confidence` (numpy's default generator, seed 12345), so intervals are reproducible
and comparable with other tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Rows = Sequence[Sequence[float]] | np.ndarray  # (segments, columns)
    Scores = Callable[[np.ndarray], np.ndarray]  # (samples, columns) -> (samples,)

SAMPLES = 1000
SEED = 12345
_BLOCK = 50  # samples that are multiplied at once


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


def sampled_sums(table: np.ndarray, *, samples: int = SAMPLES, seed: int = SEED) -> np.ndarray:
    """The sum of the rows of each sample: (segments, columns) -> (samples, columns)."""
    import numpy as np

    sums = np.empty((samples, table.shape[1]))
    found = draws(len(table), samples=samples, seed=seed)
    for start in range(0, samples, _BLOCK):
        block = sums[start : start + _BLOCK]
        block[:] = np.array(list(islice(found, len(block))), dtype=np.float64) @ table
    return sums


def interval_of(statistics: Rows, scores_of: Scores, *, samples: int = SAMPLES) -> ConfidenceInterval:
    """The 95 % interval of a score: `statistics` has one row a segment, and `scores_of` maps sums of rows, one a
    sample, to their scores."""
    return middle(_drawn(statistics, scores_of, samples=samples, seed=SEED))


def macro_interval(groups: Sequence[tuple[Rows, Scores]], *, samples: int = SAMPLES) -> ConfidenceInterval:
    """The 95 % interval of the macro mean over groups, each with its (statistics, scores_of).

    Each group is resampled separately with a different seed, so that the samples of groups are independent.
    """
    means: Any = 0.0
    for number, (statistics, scores_of) in enumerate(groups):
        means = means + _drawn(statistics, scores_of, samples=samples, seed=SEED + number) / len(groups)
    return middle(means)


def middle(scores: Iterable[float]) -> ConfidenceInterval:
    """The range of the scores without the lowest and the highest 2.5 %."""
    ordered = sorted(map(float, scores))
    cut = len(ordered) // 40
    return ConfidenceInterval(ordered[cut], ordered[-1 - cut])


def _drawn(statistics: Rows, scores_of: Scores, *, samples: int, seed: int) -> np.ndarray:
    """The scores of the samples."""
    import numpy as np

    return scores_of(sampled_sums(np.asarray(statistics, dtype=np.float64), samples=samples, seed=seed))
