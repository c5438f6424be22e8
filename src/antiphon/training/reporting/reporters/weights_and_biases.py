"""Weights & Biases. With `mode: offline` nothing leaves the machine; `wandb sync` sends it later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.training.reporting.reporters.base import BuiltInReporter, ReportedRun, numbers


class WandbReporter(BuiltInReporter):
    """A run of Weights & Biases; the settings are those of `wandb.init` (project, entity, name, tags, mode, ...).

    Figures are by `step`, which is logged as a figure of its own: wandb's own step cannot go back, as a run does when
    it is resumed from a snapshot. A resumed run continues the same run there, by its id.
    """

    def __init__(self, run: ReportedRun, *, project: str = "antiphon", **settings: Any) -> None:
        import wandb

        super().__init__(run)
        known: dict[str, Any] = {"name": run.name, "dir": str(run.folder), **settings}
        identifier = known.pop("id", None) or run.saved_id("wandb")
        known |= {"id": identifier, "resume": "allow"} if identifier else {}
        self._run = wandb.init(project=project, config=dict(run.recipe), **known)
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        run.save_id("wandb", self._run.id)

    def __call__(self, row: Mapping[str, Any]) -> None:
        self._run.log({"step": row["step"], **numbers(row)})

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
