"""TensorBoard: event files in the run folder, for `tensorboard --logdir RUN`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from antiphon.training.guards.step_clock import SteadyTime
from antiphon.training.reporting.reporters.base import BuiltInReporter, ReportedRun, numbers


class TensorBoardReporter(BuiltInReporter):
    """Scalars, and the recipe as text. `folder`: where; none: `tensorboard/` in the run folder.

    A resumed run adds an event file that removes the points after the step from which it continues.
    """

    def __init__(self, run: ReportedRun, *, folder: str | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        super().__init__(run)
        self._time = SteadyTime()
        after = None if run.resumed_at is None else run.resumed_at + 1
        self._writer = SummaryWriter(folder or str(run.folder / "tensorboard"), purge_step=after)
        if run.resumed_at is None:
            self._writer.add_text("recipe", f"```json\n{json.dumps(run.recipe, indent=1, ensure_ascii=False)}\n```")

    def __call__(self, row: Mapping[str, Any]) -> None:
        now = self._time.seconds()
        for name, value in numbers(row).items():
            self._writer.add_scalar(name, value, row["step"], walltime=now)

    def close(self, *, failed: bool) -> None:
        self._writer.close()
