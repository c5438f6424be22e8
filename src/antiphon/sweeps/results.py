"""What a study found: its settings with their runs, best first.

results = study_settings(study, lower_is_better=True)
results[0].params, results[0].values, results[0].mean
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from antiphon.sweeps.search import DUPLICATE, FAILED, FOLDER, HOST
from antiphon.sweeps.space import Params, describe
from antiphon.sweeps.statistics import mean_interval
from antiphon.sweeps.trial import runs_of

if TYPE_CHECKING:
    import optuna

# The states of settings, in the order of a table.
DONE, RUNNING, WAITING, PRUNED, DIVERGED, FAILED_STATE = "done", "running", "waiting", "pruned", "diverged", "failed"
_STATES = {"COMPLETE": DONE, "RUNNING": RUNNING, "WAITING": WAITING, "PRUNED": PRUNED, "FAIL": FAILED_STATE}


@dataclass(frozen=True)
class SettingResult:
    """A setting of a sweep: its parameters, state, and the figures of its finished runs by seed.

    `reported` are the validations of its first run by step, also of a pruned one. `note` is why it failed.
    """

    number: int
    params: Params
    state: str
    runs: Mapping[int, Mapping[str, Any]]
    reported: Mapping[int, float] = field(default_factory=dict)
    folder: str = ""
    host: str = ""
    note: str = ""

    @property
    def values(self) -> list[float]:
        """The metric of each finished run, by seed."""
        return [float(self.runs[seed]["value"]) for seed in sorted(self.runs)]

    @property
    def mean(self) -> float:
        """The mean over the seeds; NaN without a finished run."""
        return statistics.fmean(self.values) if self.runs else math.nan

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean over seeds (Student's t); None for fewer than two runs."""
        return mean_interval(self.values)

    @property
    def minutes(self) -> float:
        """Training time of the finished runs."""
        return sum(float(run["minutes"]) for run in self.runs.values())

    def __str__(self) -> str:
        return describe(self.params)


def study_settings(study: optuna.Study, *, lower_is_better: bool) -> list[SettingResult]:
    """The settings of a study: the finished ones first, best first; then by state and number."""
    latest: dict[str, SettingResult] = {}
    for trial in study.get_trials(deepcopy=False):
        if DUPLICATE in trial.user_attrs:
            continue
        state = _STATES[trial.state.name]
        if FAILED in trial.user_attrs and state == PRUNED:
            state = DIVERGED
        params = dict(trial.params) or dict(trial.system_attrs.get("fixed_params", {}))
        found = SettingResult(
            number=trial.number,
            params=params,
            state=state,
            runs=runs_of(trial.user_attrs),
            reported=dict(trial.intermediate_values),
            folder=trial.user_attrs.get(FOLDER, ""),
            host=trial.user_attrs.get(HOST, ""),
            note=trial.user_attrs.get(FAILED, ""),
        )
        latest[repr(sorted(params.items()))] = found  # a failed setting may have been tried again
    sign = 1 if lower_is_better else -1
    order = [DONE, RUNNING, PRUNED, DIVERGED, FAILED_STATE, WAITING]

    def rank(result: SettingResult) -> tuple[int, float, int]:
        return order.index(result.state), sign * result.mean if result.state == DONE else 0.0, result.number

    return sorted(latest.values(), key=rank)


def finished(settings: Sequence[SettingResult]) -> list[SettingResult]:
    """The settings whose runs are all done."""
    return [setting for setting in settings if setting.state == DONE]
