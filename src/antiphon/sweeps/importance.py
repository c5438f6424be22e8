"""How much each key of a sweep matters to the metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from antiphon.sweeps.definition import Definition
from antiphon.sweeps.results import SettingResult, finished
from antiphon.sweeps.storage import import_optuna

if TYPE_CHECKING:
    import optuna

FEWEST = 4  # finished settings below which nothing is said


def importance_of(
    study: optuna.Study, definition: Definition, settings: Sequence[SettingResult]
) -> dict[str, float]:
    """The share of each key, largest first, by PED-ANOVA (Watanabe et al. 2023); empty with fewer than FEWEST finished
    settings, or if all are equal."""
    done = finished(settings)
    if len(done) < FEWEST or len({setting.mean for setting in done}) < 2:
        return {}
    optuna = import_optuna()
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(definition.space))
    except (ValueError, RuntimeError):  # too few trials with all parameters
        return {}
    return {str(key): float(value) for key, value in found.items()}
