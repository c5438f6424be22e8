"""The guards of a training step in one object: what `TrainStep` and `Loop` call.

protection = RunProtection(progress, settings, record)
found = protection.in_parts(lambda: forward_and_backward(), parallel)   # again, in smaller parts, if memory runs out
seconds = protection.counted(measured_seconds)
protection.judge(loss)                                          # protection.divergence: the loss has left its range
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TypeVar

from antiphon.batch import Batch, Example
from antiphon.config import TrainingConfig
from antiphon.distributed.world import World
from antiphon.durable import replace_file
from antiphon.errors import RestartError, argument
from antiphon.training.guards.events import RunEvents
from antiphon.training.guards.loss_range import Divergence
from antiphon.training.guards.splitting import BatchPart, MicroBatchSplitter, SplitSizes, free_memory
from antiphon.training.guards.step_clock import StepClock
from antiphon.training.parallel.single import SingleProcess
from antiphon.training.progress import Progress
from antiphon.training.reporting.record import RunLog

MEMORY = "memory.json"  # in the run folder: the sizes that a rank could not compute, for the next start
T = TypeVar("T")


class RunProtection:
    """The guards of a run with `settings` whose counters are `progress`, and whose folder and display are `record`."""

    def __init__(self, progress: Progress, settings: TrainingConfig, record: RunLog) -> None:
        self.progress, self.settings, self.folder = progress, settings, record.folder
        self.events = RunEvents(record.say)
        self.clock = StepClock(self.events)
        self.splitter = MicroBatchSplitter(progress.protection.split, self.events)
        self.divergence: Divergence | None = None

    def counted(self, seconds: float) -> float:
        """The seconds of the step that is done, of the `seconds` that were measured."""
        return self.clock.counted(seconds, step=self.progress.step)

    def passes(self, others: Sequence[Sequence[Example]]) -> int:
        """The number of passes in which ranks compute the micro-batches `others` side by side."""
        sizes = [
            (len(rows), max(len(each.source) for each in rows) + max(len(each.target) for each in rows))
            for rows in others
        ]
        return max((self.progress.protection.split.parts(*size) for size in sizes), default=1)

    def parts(self, batch: Batch | None, *, least: int) -> Iterator[BatchPart]:
        """The parts in which a micro-batch is computed, one after the other, at `least` so many."""
        return self.splitter.parts(batch, paired=self.settings.r_drop > 0, least=least)

    def in_parts(self, compute: Callable[[], T], parallel: SingleProcess) -> T:
        """The result of `compute`, which adds the gradients of a step. While memory runs out, it is called again, and
        `parts` are smaller. RestartError if other ranks have a part of the gradients already."""
        self.splitter.sizes = self.progress.protection.split  # another object after a resume
        while True:
            self.splitter.count = 0
            try:
                return compute()
            except (MemoryError, RuntimeError) as error:
                self.splitter.learn(error, step=self.progress.step + 1, repeats=parallel.repeatable)
                if not parallel.repeatable:
                    self._remember()
                    raise RestartError(
                        f"memory ran out in step {self.progress.step + 1} while the ranks exchanged gradients, so that "
                        f"the step cannot be computed again; the last snapshot is untouched. Continue with "
                        f"{argument('resume=True', flag='--resume')}: micro-batches of this size are computed in parts "
                        "from then on."
                    ) from error
            # The backward pass may have added a part of a gradient: the step begins anew.
            parallel.network.zero_grad(set_to_none=True)
            free_memory()

    def judge(self, loss: float) -> None:
        """Add the loss of the step that is done, in nats a target token, to its range."""
        progress = self.progress
        found = progress.protection.loss_range.add(loss, step=progress.step, rise=self.settings.max_loss_rise)
        self.divergence = found or self.divergence

    def agree(self, world: World) -> None:
        """Before a snapshot: the ranks split alike from now on, as those do that continue from it."""
        if world.size > 1:
            for other in world.gather(asdict(self.progress.protection.split)):
                self.progress.protection.split.merge(SplitSizes(**other))

    def recall(self, world: World) -> None:
        """When training begins: split what a rank could not compute before the last end."""
        found = world.broadcast(self._remembered() if world.main else None)
        if found is not None:
            self.progress.protection.split.merge(found)

    def _remember(self) -> None:
        """Write the sizes, and those that another rank has written, for the next start."""
        split = self.progress.protection.split
        if split.part_most is not None:  # each further failure would cost a start: split more at once
            split.fails_from = split.part_most + 1
        if (known := self._remembered()) is not None:
            split.merge(known)
        try:
            replace_file(self.folder / MEMORY, json.dumps(asdict(split)).encode())
        except OSError:  # the next start learns it again
            return

    def _remembered(self) -> SplitSizes | None:
        """The sizes that an earlier start has written; None if there are none, or they are damaged."""
        try:
            return SplitSizes(**json.loads((self.folder / MEMORY).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
