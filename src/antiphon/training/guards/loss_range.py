"""The range of the training loss, and whether the loss has left it: divergence.

    found = progress.loss_range.add(2.31, step=1240, rise=0.5)     # None, or the figures of a divergence

The steps are read in blocks of BLOCK. A block has a level, the median of its losses, and a scatter, their median
absolute deviation as a standard deviation (times 1.4826; Rousseeuw and Croux 1993, section 1), so that single spikes
count for nothing. The range ends above the lowest level of the last LEVELS blocks by the larger of

* SCATTERS times the median scatter of these blocks, and
* `rise` times that level, counted as at least 1 nat.

The loss has diverged when CONFIRMING blocks in a row are above that. Their levels do not count for the range. The state
is plain numbers and part of each snapshot, so that a resumed run decides as the uninterrupted one.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

BLOCK = 25  # steps
LEVELS = 40  # blocks whose levels are remembered: the last 1,000 steps
FEWEST_LEVELS = 2  # blocks before any is judged
CONFIRMING = 2  # blocks in a row
SCATTERS = 3.0  # the median of a block of 25 has a standard error of 0.25 of them
LEAST_LEVEL = 1.0  # nats; of an almost perfect model, small changes are large shares of the loss
_AS_DEVIATION = 1.4826  # median absolute deviation to standard deviation, of a normal distribution


@dataclass(frozen=True, slots=True)
class Divergence:
    """A loss that has left its range: the `level` of the last block, the lowest one before, the range's end, the
    scatter of single steps; `began` is the first step of the first block above the range."""

    step: int
    began: int
    level: float
    lowest: float
    end: float
    scatter: float


@dataclass(slots=True)
class LossRange:
    """The losses of the present block, and the levels and scatters of the last blocks in range, oldest first.

    `above` is the number of blocks in a row above the range. `block_began` is the step before the present block,
    `above_began` that before the first of those blocks, `safe_step` that before the last block in range: a snapshot of
    this step or an older one has weights from before the loss began to rise.
    """

    losses: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    scatters: list[float] = field(default_factory=list)
    above: int = 0
    block_began: int = 0
    above_began: int = 0
    safe_step: int = 0

    def add(self, loss: float, *, step: int, rise: float) -> Divergence | None:
        """Add the loss of `step`, in nats a label. `rise` is the share by which a level may be above the lowest one; 0:
        there is no range."""
        if not self.losses:
            self.block_began = step - 1
        self.losses.append(loss)
        if len(self.losses) < BLOCK:
            return None
        losses, self.losses = self.losses, []
        level = statistics.median(losses)
        scatter = _AS_DEVIATION * statistics.median(abs(each - level) for each in losses)
        known = len(self.levels) >= FEWEST_LEVELS
        if known and rise and level > (end := self.end(rise)):
            self.above_began = self.above_began if self.above else self.block_began
            self.above += 1
            if self.above < CONFIRMING:
                return None
            began = self.above_began + 1
            return Divergence(step, began, level, min(self.levels), end, statistics.median(self.scatters))
        self.above, self.safe_step = 0, self.block_began
        self.levels, self.scatters = [*self.levels, level][-LEVELS:], [*self.scatters, scatter][-LEVELS:]
        return None

    def needed_steps(self, step: int) -> tuple[int, int]:
        """After `step`: the steps for which the newest snapshot of that step or an older one is needed if the loss
        leaves its range: `safe_step`, and what it becomes if the present block stays in range."""
        return self.safe_step, self.block_began if self.losses else step

    def end(self, rise: float) -> float:
        """The end of the range."""
        lowest = min(self.levels)
        return lowest + max(SCATTERS * statistics.median(self.scatters), rise * max(lowest, LEAST_LEVEL))
