"""The range test of the learning rate (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", sec. 3.3).

    found = find_lr("recipe.yaml")
    found.suggested, found.points            # 0.0021, [(lr, loss), ...]

The rate rises step by step from `low` to `high`, uniformly in its logarithm, while the loss is recorded. It falls
slowly at small rates, fast at good ones, and rises where training diverges, where the test stops. Smith draws accuracy
over a linear rate; loss over a logarithmic one is common since. The suggestion is a rate, not the best: a sweep finds
that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from antiphon.config import TrainConfig
from antiphon.display import Markup, chart_grid, fixed, line_chart, note, panel
from antiphon.errors import ConfigError, NonFiniteError, WorkError, argument
from antiphon.settings import show
from antiphon.workflows.finding.bare_job import as_config, bare_job

SMOOTHING = 0.9  # of the exponential moving average of the loss
SETTLING_STEPS = 10  # steps before divergence is looked for
LOST_SHARE = 0.5  # share of the decrease of the loss after whose loss the test stops


@dataclass(frozen=True)
class RateTest:
    """The result of a range test.

    `points` are (rate, loss of the step), `smooth` (rate, smoothed loss). `suggested` is the rate at which the smoothed
    loss falls fastest, a peak rate for training; `lowest` where it is lowest, which is too high. `diverged` is the rate
    at which the test stopped; None: it reached the end.
    """

    points: Sequence[tuple[float, float]]
    smooth: Sequence[tuple[float, float]]
    suggested: float
    lowest: float
    diverged: float | None

    @property
    def verdict(self) -> str:
        """The suggestion in a sentence."""
        end = "the loss did not diverge" if self.diverged is None else f"it diverges at {self.diverged:.2g}"
        return (
            f"suggested rate: {self.suggested:.2g} (the loss falls fastest there, and is lowest at {self.lowest:.2g}; "
            f"{end})"
        )

    def chart(self) -> Markup:
        """The losses by rate, with the suggestion."""
        curves = {"loss": list(self.points), "smoothed": list(self.smooth)}
        marks = {f"suggested {self.suggested:.2g}": self.suggested}
        return line_chart(curves, title="nats a token", across="learning rate", log=True, marks=marks)

    def picture(self) -> str:
        """The chart as an SVG file."""
        return chart_grid([self.chart()])

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "suggested": self.suggested,
            "lowest": self.lowest,
            "diverged": self.diverged,
            "points": [list(point) for point in self.points],
            "smooth": [list(point) for point in self.smooth],
        }

    def __repr__(self) -> str:
        return f"RateTest({self.verdict})"

    def _repr_html_(self) -> str:
        return panel("Learning rate range test", self.chart(), note(self.verdict))


def find_lr(
    recipe: TrainConfig | Mapping[str, Any] | str | Path,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    overrides: Mapping[str, str] | None = None,
    variant: str | None = None,
    device: str | torch.device = "auto",
    report: Callable[[int, float, float], None] = lambda step, rate, loss: None,
) -> RateTest:
    """Raise the learning rate of `recipe` from `low` to `high` in `steps` steps, and suggest one.

    Nothing is written. `report` is called with each step, rate and loss. Raises ConfigError for wrong bounds or a wrong
    recipe, WorkError if the loss never falls.
    """
    if not 0 < low < high or not math.isfinite(high):
        raise ConfigError(f"`low` must be above 0 and below `high`, but they are {show(low)} and {show(high)}.")
    if steps < 2 * SETTLING_STEPS:
        raise ConfigError(f"`steps` must be at least {2 * SETTLING_STEPS}, but is {steps}.")
    loop = bare_job(as_config(recipe, overrides, variant=variant), device=device).loop

    def rate_of(step: int) -> float:
        """The rate of a step, from 1."""
        return low * (high / low) ** ((step - 1) / (steps - 1))

    loop.parts = replace(loop.parts, schedule=rate_of)
    curve = LossCurve()
    for step in range(1, steps + 1):
        try:
            loop.step()
        except NonFiniteError:
            curve.diverged = rate_of(step)
            break
        window = loop.progress.window
        loss = window.loss / window.counted if window.counted else math.inf  # not counted: not finite
        loop.progress.row(loop.settings)  # starts a new window
        report(step, rate_of(step), loss)
        if not curve.add(rate_of(step), loss):
            break
    return curve.result()


class LossCurve:
    """The losses of a range test; `add` returns False once it has diverged."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self.smooth: list[tuple[float, float]] = []
        self.diverged: float | None = None
        self._average = 0.0

    def add(self, rate: float, loss: float) -> bool:
        """Add a point; False if the loss is not finite, is above that of the start, or has lost LOST_SHARE of its
        decrease again."""
        if math.isfinite(loss):
            self.points.append((rate, loss))
            self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
            self.smooth.append((rate, self._average / (1 - SMOOTHING ** len(self.points))))  # corrected for the start
            values = [value for _, value in self.smooth]
            first, best, now = values[0], min(values), values[-1]
            fallen = len(values) >= SETTLING_STEPS and now > best + max(LOST_SHARE * (first - best), 0.02 * first)
            if not fallen:
                return True
        self.diverged = rate
        return False

    def result(self) -> RateTest:
        """The suggestion from the points so far. WorkError if the loss never fell."""
        lowest = min(range(len(self.smooth)), key=lambda place: self.smooth[place][1], default=0)
        if lowest < 2:
            raise WorkError(
                f"the loss must fall at some rate, but did not: lower {argument('low', flag='--low')}, give more "
                f"{argument('steps', flag='--steps')}, or look at the data."
            )
        slopes = [
            (self.smooth[place + 1][1] - self.smooth[place - 1][1])
            / math.log(self.smooth[place + 1][0] / self.smooth[place - 1][0])
            for place in range(1, lowest)
        ]
        suggested = self.smooth[1 + min(range(len(slopes)), key=slopes.__getitem__)][0]
        return RateTest(self.points, self.smooth, suggested, self.smooth[lowest][0], self.diverged)


def rate_lines(result: RateTest, *, rows: int = 20, width: int = 80) -> list[str]:
    """The smoothed curve as lines of text: rate, loss, a bar; the row of the suggestion is marked."""
    chosen = result.smooth[:: max(1, len(result.smooth) // rows)]
    most = max(loss for _, loss in chosen)
    least = min(loss for _, loss in chosen)
    space = max(10, width - 34)
    nearest = min(chosen, key=lambda point: abs(math.log(point[0] / result.suggested)))
    lines = []
    for rate, loss in chosen:
        length = round(space * (loss - least) / (most - least)) if most > least else 0
        mark = "  <- suggested" if (rate, loss) == nearest else ""
        lines.append(f"{rate:9.2e}  {fixed(loss, 3):>8}  {'━' * length}{mark}")
    return lines
