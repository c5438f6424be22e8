"""The guards of a training step in one object: what `TrainStep` calls.

    protection = RunProtection(progress, settings, say=print)
    protection.begin()
    found = protection.in_parts(lambda: forward_and_backward())     # again, in smaller parts, while memory runs out
    seconds = protection.end()
    protection.judge(loss)                                          # protection.divergence: the loss has left its range
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from torch import nn

from antiphon.batch import Batch
from antiphon.config import TrainingConfig
from antiphon.training.guards.events import RunEvents
from antiphon.training.guards.loss_range import Divergence
from antiphon.training.guards.splitting import BatchPart, MicroBatchSplitter, free_memory
from antiphon.training.guards.step_clock import StepClock
from antiphon.training.progress import Progress

T = TypeVar("T")


class RunProtection:
    """The guards of a run with `settings` whose counters are `progress`. `say` shows a line."""

    def __init__(self, progress: Progress, settings: TrainingConfig, *, say: Callable[[str], None]) -> None:
        self.progress, self.settings = progress, settings
        self.events = RunEvents(say)
        self.clock = StepClock(self.events)
        self.splitter = MicroBatchSplitter(progress.split, self.events)
        self.divergence: Divergence | None = None

    def begin(self) -> None:
        """Begin a step."""
        self.clock.begin()

    def end(self) -> float:
        """The seconds of the step."""
        return self.clock.end(step=self.progress.step + 1)

    def parts(self, batch: Batch) -> Iterator[BatchPart]:
        """The parts in which a micro-batch is computed, one after the other."""
        return self.splitter.parts(batch, paired=self.settings.r_drop > 0)

    def in_parts(self, compute: Callable[[], T], network: nn.Module) -> T:
        """The result of `compute`, which adds the gradients of a step to `network`. While memory runs out, it is called
        again, and `parts` are smaller."""
        self.splitter.sizes = self.progress.split  # another object after a resume
        while True:
            try:
                return compute()
            except (MemoryError, RuntimeError) as error:
                self.splitter.learn(error, step=self.progress.step + 1)
            # The backward pass may have added a part of a gradient: the step begins anew.
            network.zero_grad(set_to_none=True)
            free_memory()

    def judge(self, loss: float) -> None:
        """Add the loss of the step that is done, in nats a target token, to its range."""
        progress = self.progress
        found = progress.loss_range.add(loss, step=progress.step, rise=self.settings.max_loss_rise)
        self.divergence = found or self.divergence
