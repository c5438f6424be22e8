"""What a metric gives: a score with what was computed, and what its interval is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from antiphon.errors import ConfigError
from antiphon.evaluation.bootstrap import ConfidenceInterval, interval_of
from antiphon.registry import nearest

References = Sequence[Sequence[str]]  # for each answer one or more


@dataclass(frozen=True)
class MetricResult:
    """A score with what was computed.

    `score` is on the metric's own scale; `signature` names every choice behind it, so that two scores can be compared.
    `statistics` (one row a segment) and `score_of` (the score of their sum) are what the interval is drawn from; a
    metric may leave them out. `lower_is_better` turns the search for the best model around. `details` are more figures
    for a program, and `table` is what a person reads below the score. `note` is one line where the score does not
    measure what it seems to, with the remedy.
    """

    score: float
    signature: str = ""
    statistics: Sequence[Sequence[float]] = field(default=(), repr=False)
    score_of: Callable[[Any], float] | None = field(default=None, repr=False)
    lower_is_better: bool = False
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    table: str = field(default="", repr=False)
    note: str = field(default="", repr=False)

    @cached_property
    def interval(self) -> ConfidenceInterval | None:
        """The 95 % interval of a bootstrap over segments (Koehn 2004), drawn when it is first asked for; the same at
        every call.

        None where the metric gives no statistics or there is only one segment.
        """
        if self.score_of is None or len(self.statistics) < 2:
            return None
        return interval_of(self.statistics, self.score_of)


def percent(total: Any) -> float:
    """The score of statistics (a part, its whole) that are added up, in percent; 0 where the whole is."""
    return 100.0 * float(total[0]) / float(total[1]) if total[1] else 0.0


def ratio(
    parts: Sequence[tuple[float, float]], signature: str, *, lower_is_better: bool = False, **more: Any
) -> MetricResult:
    """The result whose score is the sum of the parts in the sum of their wholes, in percent."""
    score = percent([sum(column) for column in zip(*parts, strict=True)])
    return MetricResult(score, signature, parts, percent, lower_is_better, **more)


def count_of(references: References) -> str:
    """The number of references an answer, as a signature has it: nrefs:2, or nrefs:var."""
    counts = {len(row) for row in references}
    return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}"


def choice(metric: str, setting: str, value: object, known: Sequence[str]) -> None:
    """Raises ConfigError unless `value` is among `known`."""
    if value not in known:
        hint = nearest(str(value), known) or "."
        raise ConfigError(f"`{setting}` of {metric} must be one of {', '.join(known)}, but is `{value}`{hint}")
