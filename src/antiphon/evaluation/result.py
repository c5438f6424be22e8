"""The result of a metric: score, signature, and the statistics for its confidence interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from antiphon.errors import ConfigError
from antiphon.evaluation.bootstrap import ConfidenceInterval, interval_of
from antiphon.evaluation.sums import ratio_scores
from antiphon.registry import nearest

if TYPE_CHECKING:
    import numpy as np

References = Sequence[Sequence[str]]  # for each answer one or more


@dataclass(frozen=True)
class MetricResult:
    """The result of a metric.

    `score` is on the metric's scale. `signature` lists all its settings, so that scores can be compared. `statistics`
    (one row a segment) and `score_of` (from the sum of rows to the score) are used for the interval; they are optional.
    `lower_is_better` inverts the selection of the best model. `details` are further figures for programs, `table` is
    printed below the score. `note` is a warning of one line, with a remedy, if the score is not meaningful.
    `many_scores_of` does what `score_of` does for many sums at once, (samples, columns) -> (samples,); it makes
    intervals and comparisons fast, and is optional too.
    """

    score: float
    signature: str = ""
    statistics: Sequence[Sequence[float]] = field(default=(), repr=False)
    score_of: Callable[[Any], float] | None = field(default=None, repr=False)
    lower_is_better: bool = False
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    table: str = field(default="", repr=False)
    note: str = field(default="", repr=False)
    many_scores_of: Callable[[Any], Any] | None = field(default=None, repr=False)

    @cached_property
    def interval(self) -> ConfidenceInterval | None:
        """The 95 % interval by bootstrap over segments (Koehn 2004), computed on first access and reproducible.

        None if the metric has no statistics or there is only one segment.
        """
        if self.score_of is None or len(self.statistics) < 2:
            return None
        return interval_of(self.statistics, self.scores)

    def scores(self, sums: np.ndarray) -> np.ndarray:
        """The scores of sums of statistics: (samples, columns) -> (samples,); only if there is a `score_of`."""
        import numpy as np  # sacrebleu brings it

        if self.many_scores_of is not None:
            return self.many_scores_of(sums)
        assert self.score_of is not None
        return np.array([float(self.score_of(row.copy())) for row in sums])


def percent(total: Any) -> float:
    """The score of summed statistics (part, whole) as a percentage; 0 if the whole is 0."""
    return 100.0 * float(total[0]) / float(total[1]) if total[1] else 0.0


def ratio(
    parts: Sequence[tuple[float, float]], signature: str, *, lower_is_better: bool = False, **more: Any
) -> MetricResult:
    """The result whose score is sum of parts / sum of wholes, as a percentage."""
    score = percent([sum(column) for column in zip(*parts, strict=True)])
    return MetricResult(score, signature, parts, percent, lower_is_better, many_scores_of=ratio_scores, **more)


def count_of(references: References) -> str:
    """The number of references per answer, as in a signature: nrefs:2, or nrefs:var."""
    counts = {len(row) for row in references}
    return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}"


def choice(metric: str, setting: str, value: object, known: Sequence[str]) -> None:
    """Raise ConfigError unless `value` is one of `known`."""
    if value not in known:
        hint = nearest(str(value), known) or "."
        raise ConfigError(f"`{setting}` of {metric} must be one of {', '.join(known)}, but is `{value}`{hint}")
