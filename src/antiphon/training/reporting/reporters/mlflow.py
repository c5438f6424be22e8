"""MLflow: a run of an experiment on the tracking server or in the store that MLflow is set to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from antiphon.training.guards.step_clock import SteadyTime
from antiphon.training.reporting.reporters.base import BuiltInReporter, ReportedRun, flat, numbers

MAX_VALUE_CHARACTERS, MAX_PARAMETERS = 6000, 100  # of a parameter; of one call


class MlflowReporter(BuiltInReporter):
    """A run of MLflow. `tracking_uri`: a server or store, for example sqlite:///mlflow.db; none: MLflow's own setting.

    A resumed run continues the same run there, by its id.
    """

    def __init__(
        self,
        run: ReportedRun,
        *,
        experiment: str = "antiphon",
        name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow import MlflowClient

        super().__init__(run)
        self._time = SteadyTime()
        self._client = MlflowClient(tracking_uri)
        self._id = run.saved_id("mlflow") or self._begun(experiment, name or run.name, dict(tags or {}))
        self._client.update_run(self._id, status="RUNNING")
        run.save_id("mlflow", self._id)

    def __call__(self, row: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        now = int(self._time.seconds() * 1000)
        found = [Metric(_allowed(name), value, now, row["step"]) for name, value in numbers(row).items()]
        self._client.log_batch(self._id, metrics=found)

    def close(self, *, failed: bool) -> None:
        self._client.set_terminated(self._id, "KILLED" if failed else "FINISHED")

    def _begun(self, experiment: str, name: str, tags: dict[str, str]) -> str:
        """The id of a new run, with the recipe as its parameters."""
        from mlflow.entities import Param

        found = self._client.get_experiment_by_name(experiment)
        place = self._client.create_experiment(experiment) if found is None else found.experiment_id
        made = self._client.create_run(place, run_name=name, tags=tags).info.run_id
        recipe = flat(self.run.recipe)
        known = [Param(_allowed(key), str(value)[:MAX_VALUE_CHARACTERS]) for key, value in recipe.items()]
        for first in range(0, len(known), MAX_PARAMETERS):
            self._client.log_batch(made, params=known[first : first + MAX_PARAMETERS])
        return made


def _allowed(name: str) -> str:
    """A name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)
