"""The figures of a sweep: its settings with their results, the verdict, and how much each key matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.sweeps.comparison import Verdict
from antiphon.sweeps.definition import Definition
from antiphon.sweeps.results import DONE, FAILED_STATE, SettingResult, finished
from antiphon.sweeps.space import label_of, short_key
from antiphon.sweeps.table import as_table

BEST = "best.yaml"
HALF, NUMERIC = "± 95 %", ("± 95 %", "runs", "p", "parameters", "minutes")


@dataclass(frozen=True)
class SweepFigures:
    """What a sweep found. `settings`: the finished ones first, best first; `metric`: its name, and whether lower is
    better; `importance`: how much each key matters, largest first, by `method`."""

    definition: Definition
    metric: tuple[str, bool]
    settings: Sequence[SettingResult]
    verdict: Verdict
    importance: Mapping[str, float]
    method: str

    @property
    def best(self) -> SettingResult | None:
        """The finished setting with the best mean; None if none has finished."""
        return next(iter(finished(self.settings)), None)

    @property
    def failed(self) -> list[SettingResult]:
        """The settings with a run that failed; one that diverged is none of them."""
        return [setting for setting in self.settings if setting.state == FAILED_STATE]

    @property
    def best_recipe(self) -> Path | None:
        """The file of the best setting as a recipe; None if none has finished."""
        return None if self.best is None else self.definition.folder / BEST

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row of figures for each setting."""
        return table_rows(self.settings, self.metric[0], self.verdict)

    @property
    def table(self) -> str:
        """The rows as a Markdown table."""
        return self.fitted()

    def fitted(self, width: int | None = None) -> str:
        """The rows as a Markdown table for a terminal of `width` columns; None: in one piece."""
        return as_table(text_rows(self.rows, self.metric[0]), width=width)

    @property
    def counts(self) -> str:
        """How many settings and runs there are, by state."""
        states = [setting.state for setting in self.settings]
        parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        runs = sum(len(one.runs) for one in self.settings)
        return f"{_count(len(states), 'setting')} ({', '.join(parts)}), {_count(runs, 'run')}"

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "name": self.definition.name,
            "metric": self.metric[0],
            "lower_is_better": self.metric[1],
            "verdict": self.verdict.as_json(),
            "importance": {"method": self.method, **self.importance},
            "settings": self.rows,
        }


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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
