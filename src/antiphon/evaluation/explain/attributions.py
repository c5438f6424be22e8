"""The attributions of each word of an answer to the tokens of its source, with what is known about them.

    found.top("Stunden")                    # [('▁hours', 9.1), ('▁3', 0.4), ...]
    found.notes                             # the method, its caveat, completeness, the deletion test

Shapes: S source positions, U units (words or tokens of the answer, or one label).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.evaluation.explain.faithfulness import Faithfulness
from antiphon.evaluation.explain.gradients import Completeness
from antiphon.evaluation.explain.methods import METHODS, Method


@dataclass(frozen=True, eq=False)
class Attributions:
    """Attributions `weights` (U, S), float64, of the `answer`'s `units` to `source_tokens`.

    `scores` (U,) are the log-probabilities of the units in nats, for a classification that of the label among all
    labels (`is_label`). `special` marks source tokens that no deletion and no baseline changes. `completeness` is given
    for integrated gradients; `faithfulness` unless it was not asked for.
    """

    method: str
    source: str
    answer: str
    source_tokens: list[str]
    special: list[bool]
    units: list[str]
    weights: Tensor
    scores: Tensor
    is_label: bool
    completeness: Completeness | None = None
    faithfulness: Faithfulness | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def about(self) -> Method:
        """The method: its title, unit, source and caveat."""
        return METHODS[self.method]

    @property
    def caveat(self) -> str:
        """What the method cannot say."""
        return self.about.caveat

    @property
    def notes(self) -> list[str]:
        """Lines on the method: what it is, its caveat, completeness, and the deletion test."""
        about = self.about
        found = [f"{about.title} ({about.source}), in {about.unit}", f"Caveat: {about.caveat}"]
        if self.completeness is not None:
            found.append(completeness_line(self.completeness))
        if self.faithfulness is not None:
            found.append(faithfulness_line(self.faithfulness))
        return found

    def probability(self, unit: int) -> float:
        """The probability of a unit."""
        return math.exp(float(self.scores[unit]))

    def row(self, unit: int | str) -> Tensor:
        """The attributions (S,) of a unit, by its index or its text (the first one with that text)."""
        if isinstance(unit, str):
            if unit not in self.units:
                raise ConfigError(f"`unit` must be one of {', '.join(self.units)}, but is `{unit}`.")
            unit = self.units.index(unit)
        if not -len(self.units) <= unit < len(self.units):
            raise ConfigError(f"`unit` must be below {len(self.units)}, but is {unit}.")
        return self.weights[unit]

    def top(self, unit: int | str, count: int = 5) -> list[tuple[str, float]]:
        """The source tokens with the largest absolute attributions of a unit, largest first, with their attributions.
        Special tokens are left out."""
        row = self.row(unit)
        places = [place for place, left_out in enumerate(self.special) if not left_out]
        places.sort(key=lambda place: -abs(float(row[place])))
        return [(self.source_tokens[place], float(row[place])) for place in places[:count]]

    def as_json(self) -> dict[str, Any]:
        """The explanation as an object of `antiphon explain --json`."""
        found: dict[str, Any] = {
            "method": self.method,
            "unit": self.about.unit,
            "caveat": self.caveat,
            "source": self.source,
            "answer": self.answer,
            "source_tokens": self.source_tokens,
            "special": self.special,
            "is_label": self.is_label,
            "words": [
                {"text": text, "score": float(self.scores[place]), "attributions": self.weights[place].tolist()}
                for place, text in enumerate(self.units)
            ],
            "seconds": self.seconds,
        }
        if self.completeness is not None:
            found["completeness"] = {
                "points": self.completeness.points,
                "difference": self.completeness.difference.tolist(),
                "error": self.completeness.error.tolist(),
                "holds": self.completeness.holds,
            }
        if self.faithfulness is not None:
            found["faithfulness"] = self.faithfulness.as_json()
        return found


def completeness_line(found: Completeness) -> str:
    """Whether the attributions add up, in one line."""
    verdict = "complete" if found.holds else "not complete"
    return (
        f"{verdict}: the attributions add up to the difference of the score from the baseline's within "
        f"{100 * found.largest:.2g} % ({found.points} points of the path)"
    )


def faithfulness_line(found: Faithfulness) -> str:
    """The deletion test in one line."""
    if not found.steps:
        return f"deletion test: {found.verdict}"
    return (
        f"deletion test: {found.verdict}. Deleting the first tokens takes {100 * found.comprehensiveness:.1f} points "
        f"of probability (random order {100 * found.random_comprehensiveness:.1f}), keeping only these "
        f"{100 * found.sufficiency:.1f} (random {100 * found.random_sufficiency:.1f})"
    )


def largest_of(rows: Sequence[Sequence[float]]) -> float:
    """The largest absolute value of a table, at least a tiny one."""
    return max((abs(value) for row in rows for value in row), default=0.0) or 1e-12
