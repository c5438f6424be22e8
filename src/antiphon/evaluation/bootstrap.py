"""The bootstrap over segments (Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation").

A test set is drawn again from itself, with replacement, SAMPLES times; the scores of these sets show how far the score
depends on which sentences happened to be in it. The draws are those of sacreBLEU's `--confidence` (numpy's default
generator, seed 12345), so the interval is the same at every call and can be compared with other tools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

SAMPLES = 1000
SEED = 12345


class ConfidenceInterval(NamedTuple):
    """The bounds between which 95 % of the scores of drawn sets lie."""

    low: float
    high: float


def draws(segments: int, *, samples: int = SAMPLES, seed: int = SEED) -> Iterator[np.ndarray]:
    """For each drawn set, how often it holds each segment: (segments,) counts that add up to `segments`."""
    import numpy as np  # sacrebleu brings it

    generator = np.random.default_rng(seed)
    for _ in range(samples):  # set by set: all at once would take samples x segments x 8 bytes
        yield np.bincount(generator.choice(segments, size=segments, replace=True), minlength=segments)


def interval_of(
    statistics: Sequence[Sequence[float]], score_of: Callable[[np.ndarray], float], *, samples: int = SAMPLES
) -> ConfidenceInterval:
    """The 95 % interval of the score whose statistics, one row a segment, add up to what `score_of` takes."""
    return _middle(_drawn(statistics, score_of, samples=samples, seed=SEED))


def macro_interval(
    groups: Sequence[tuple[Sequence[Sequence[float]], Callable[[np.ndarray], float]]], *, samples: int = SAMPLES
) -> ConfidenceInterval:
    """The 95 % interval of the mean of the groups' scores, each of its own (statistics, score_of).

    Every group is drawn from itself, by a seed of its own, so that no two groups draw the same places.
    """
    means = [0.0] * samples
    for number, (statistics, score_of) in enumerate(groups):
        for sample, score in enumerate(_drawn(statistics, score_of, samples=samples, seed=SEED + number)):
            means[sample] += score / len(groups)
    return _middle(means)


def _drawn(
    statistics: Sequence[Sequence[float]], score_of: Callable[[np.ndarray], float], *, samples: int, seed: int
) -> Iterator[float]:
    """The scores of the drawn sets."""
    import numpy as np

    table = np.asarray(statistics, dtype=np.float64)
    return (float(score_of(count @ table)) for count in draws(len(table), samples=samples, seed=seed))


def _middle(scores: Iterable[float]) -> ConfidenceInterval:
    """What is left when 2.5 % are cut off at each end."""
    ordered = sorted(scores)
    cut = len(ordered) // 40
    return ConfidenceInterval(ordered[cut], ordered[-1 - cut])
