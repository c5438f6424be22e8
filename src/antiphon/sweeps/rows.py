"""The rows of the table of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from antiphon.sweeps.results import DONE, SettingResult
from antiphon.sweeps.space import label_of, short_key

if TYPE_CHECKING:
    from antiphon.sweeps.comparison import Verdict


def table_rows(settings: Sequence[SettingResult], metric: str, verdict: Verdict) -> list[dict[str, Any]]:
    """A row for each setting: its parameters, the mean of the metric with half the 95 % interval over seeds, the
    p against the best one, and the cost."""
    rows = []
    for setting in settings:
        interval = setting.interval
        half = None if interval is None else (interval[1] - interval[0]) / 2
        runs = list(setting.runs.values())
        last = list(setting.reported.values())
        value = setting.mean if setting.runs else (last[-1] if last else None)
        rows.append(
            {
                "setting": str(setting.number),
                **{short_key(key, list(setting.params)): label_of(value) for key, value in setting.params.items()},
                metric: value,
                "± 95 %": half,
                "runs": len(runs),
                "p": verdict.p_of(setting),
                "state": setting.state,
                "parameters": runs[0].get("parameters") if runs else None,
                "minutes": setting.minutes if setting.state == DONE else None,
            }
        )
    return rows
