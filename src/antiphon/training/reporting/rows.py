"""The rows of `metrics.jsonl` as a list that a notebook shows as curves and a table.

rows = MetricRows(read_rows(folder))
rows[-1]["step"], rows.last("valid_loss"), rows.curve("loss")        # [(50, 3.2), (100, 2.9), ...]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex, overload

from antiphon.display import Markup, clock, fixed, joined, line_chart, note, panel, side_by_side, table

Row = dict[str, Any]
POSITION_KEYS = ("step", "epoch", "time_seconds")
LOSSES = ("loss", "nll", "valid_loss")
MAX_TABLE_ROWS, MAX_METRIC_CHARTS = 20, 6
# Figures of training steps that do not measure the model. All other figures of a validation are metrics.
_OF_A_STEP = {
    "lr", "grad_norm", "tokens", "tokens_per_second", "padding_waste", "step_seconds", "seconds_left",
    "peak_memory_bytes", "trainable_parameters",
}  # fmt: skip


class MetricRows(list[Row]):
    """A list of rows of figures, with methods to select and display them."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        super().__init__(rows)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Row: ...
    @overload
    def __getitem__(self, index: slice, /) -> MetricRows: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> Row | MetricRows:
        return MetricRows(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    def curve(self, name: str) -> list[tuple[float, float]]:
        """The (step, value) points of a figure, from the rows that have it."""
        return [(row["step"], row[name]) for row in self if name in row and _is_number(row[name])]

    def last(self, name: str) -> Any:
        """The last value of a figure; None if no row has it."""
        return next((row[name] for row in reversed(self) if row.get(name) is not None), None)

    @property
    def metrics(self) -> list[str]:
        """The names of the validation metrics, in order of first occurrence."""
        names = dict.fromkeys(name for row in self for name in row if _is_number(row[name]))
        return [name for name in names if name not in {*POSITION_KEYS, *LOSSES, *_OF_A_STEP}]

    def curves(self) -> Markup:
        """One chart with the losses, and one for each metric."""
        losses = {name: points for name in ("loss", "valid_loss") if (points := self.curve(name))}
        charts = [line_chart(losses, title="nats a token")] if losses else []
        charts += [line_chart({name: self.curve(name)}, title=name) for name in self.metrics[:MAX_METRIC_CHARTS]]
        return side_by_side(charts)

    def table(self) -> Markup:
        """The figures of the last MAX_TABLE_ROWS steps."""
        steps: dict[object, Row] = {}
        for row in self:
            steps.setdefault(row.get("step"), {}).update(row)
        wanted = ("loss", "valid_loss", *self.metrics[:MAX_METRIC_CHARTS], "lr", "tokens_per_second")
        shown = [name for name in wanted if any(name in row for row in steps.values())]
        rows = list(steps.values())
        cells = [[_cell(row, name) for name in (*POSITION_KEYS, *shown)] for row in rows[-MAX_TABLE_ROWS:]]
        heads = ["step", "epoch", "time", *(_HEADS.get(name, name) for name in shown)]
        drawn = table(heads, cells, right=range(len(heads)))
        left = len(rows) - len(cells)
        return joined(note(f"the last {len(cells)} of {len(rows)} steps"), drawn) if left else drawn

    def _repr_html_(self) -> str:
        """The curves and the table, as a notebook shows them."""
        if not self:
            return panel("no figures yet")
        return panel(f"{len(self)} rows of figures", self.curves(), self.table())


_HEADS = {"tokens_per_second": "tokens/s", "valid_loss": "validation loss", "lr": "rate"}


def _cell(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if name == "time_seconds":
        return clock(value)
    if name == "lr":
        return f"{value:.2e}"
    return fixed(value, 0 if name == "tokens_per_second" else 3)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def summary_of(rows: Sequence[Row]) -> str:
    """The last figures in one line: step, losses and metrics."""
    found = rows if isinstance(rows, MetricRows) else MetricRows(rows)
    said = [f"step {found.last('step')}"] if found.last("step") is not None else []
    names = ("loss", "valid_loss", *found.metrics[:MAX_METRIC_CHARTS])
    said += [f"{_HEADS.get(name, name)} {fixed(found.last(name))}" for name in names if found.last(name) is not None]
    return ", ".join(said)
