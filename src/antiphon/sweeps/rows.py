"""The rows of the table of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.sweeps.comparison import Verdict
from antiphon.sweeps.results import DONE, SettingResult
from antiphon.sweeps.space import label_of, short_key

HALF, NUMERIC = "± 95 %", ("± 95 %", "runs", "p", "parameters", "minutes")


def table_rows(settings: Sequence[SettingResult], metric: str, verdict: Verdict) -> list[dict[str, Any]]:
    """A row for each setting: its parameters, the mean of the metric with half the 95 % interval over the seeds, the p
    against the best one, and the cost. A setting without a finished run has its last validation."""
    rows = []
    for setting in settings:
        interval, runs, last = setting.interval, list(setting.runs.values()), list(setting.reported.values())
        rows.append(
            {
                "trial": str(setting.number),
                **{short_key(key, list(setting.params)): label_of(value) for key, value in setting.params.items()},
                metric: setting.mean if runs else (last[-1] if last else None),
                HALF: None if interval is None else (interval[1] - interval[0]) / 2,
                "runs": len(runs),
                "p": verdict.p_of(setting) if setting.state == DONE else None,
                "state": setting.state,
                "parameters": runs[0].get("parameters") if runs else None,
                "minutes": setting.minutes if setting.state == DONE else None,
            }
        )
    return rows


def text_rows(rows: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, str]]:
    """The rows with formatted numbers. Columns that are empty in all of them are left out."""
    shown = [{name: _text(name, value, metric) for name, value in row.items()} for row in rows]
    return [{name: text for name, text in row.items() if any(other.get(name) for other in shown)} for row in shown]


def _text(name: str, value: Any, metric: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if name == "p":
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    if name == "minutes":
        return f"{value:.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if metric == "valid_loss" else f"{value:.2f}"
