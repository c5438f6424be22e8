"""An answer, as a user holds it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Generation:
    """An answer.

    `tokens` are without special ones. `score` is the model's own sum of log-probabilities in nats, before any processor
    or temperature, a forced prefix and the end included; `confidence` is exp(score / tokens), the geometric mean of
    their probabilities. `finished` tells whether it ended by itself. `alternatives` are the other hypotheses, best
    first by the search's ranking. `probabilities` of a classification are those of its labels, which add up to 1.
    """

    text: str
    tokens: list[str]
    score: float
    confidence: float
    finished: bool
    alternatives: list[Generation] = field(default_factory=list)
    probabilities: dict[str, float] | None = None
