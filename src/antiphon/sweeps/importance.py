"""How much each key of a sweep matters to the metric."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from antiphon.sweeps.definition import Definition
from antiphon.sweeps.results import SettingResult, finished
from antiphon.sweeps.space import grid_size
from antiphon.sweeps.storage import import_optuna

if TYPE_CHECKING:
    import optuna

FEWEST = 6  # finished settings below which nothing is said of a space that is no whole grid
VARIANCE, QUANTILE = "share of the variance", "PED-ANOVA"  # the two methods


def importance_of(
    study: optuna.Study, definition: Definition, settings: Sequence[SettingResult]
) -> tuple[str, dict[str, float]]:
    """The method, and the share of each key, largest first; no key if too few settings have finished.

    Of a whole grid: the variance of the means by the values of a key, as a share of the variance of all settings
    (functional ANOVA, Hutter et al. 2014; the rest is interaction). Else PED-ANOVA (Watanabe et al. 2023), which
    compares the values of the best settings with those of all.
    """
    done = finished(settings)
    if len(done) < 2 or len({setting.mean for setting in done}) < 2:
        return VARIANCE, {}
    if definition.config.search == "grid" and len(done) == grid_size(definition.space):
        shares = {key: _share(key, done) for key in definition.space}
        return VARIANCE, dict(sorted(shares.items(), key=lambda item: -item[1]))
    if len(done) < FEWEST:
        return QUANTILE, {}
    optuna = import_optuna()
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(definition.space))
    except (ValueError, RuntimeError):  # too few trials that have all parameters
        return QUANTILE, {}
    return QUANTILE, {str(key): float(value) for key, value in found.items()}


def _share(key: str, done: Sequence[SettingResult]) -> float:
    groups: dict[str, list[float]] = {}
    for setting in done:
        groups.setdefault(str(setting.params[key]), []).append(setting.mean)
    means = [statistics.fmean(values) for values in groups.values()]
    return statistics.pvariance(means) / statistics.pvariance([setting.mean for setting in done])
