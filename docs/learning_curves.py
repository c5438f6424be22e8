"""Draws what runs measured while they learned (SVG): the training loss and a validation metric over the steps.

    python docs/learning_curves.py runs/multi30k --output docs/images/multi30k.svg
    python docs/learning_curves.py runs/adamw runs/muon --metric bleu --output docs/images/optimizers.svg

It reads `metrics.jsonl` of each run folder (the file itself will do). The axis at the top has the minutes of training,
where there is one run; of several runs, each is named with its minutes. The metric is the first that the run validated,
unless `--metric` names one. The picture stands alone, is readable on a light and on a dark page, and the same rows give
the same bytes. Needs matplotlib (extra `[dev]`).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLORS = ["#2f81f7", "#d1761f", "#2da44e", "#a371f7", "#d6336c", "#17879c"]  # readable on white and on #0d1117
GRAY = "#848d97"  # of axes and words, for both
LOSSES = 150  # points that are drawn of one run's loss at most, of several runs fewer: a picture stays below 60 kB
MARKED = 100  # points of metrics that are shown as such at most, in the whole picture
NO_METRICS = {"valid_loss", "epoch", "step", "time_seconds", "averaged"}


class Wrong(Exception):
    """What was asked for cannot be drawn."""


@dataclass(frozen=True)
class Curves:
    """A run: points are (step, value); `clock` are (step, minutes)."""

    name: str
    loss: list[tuple[float, float]]
    metric: list[tuple[float, float]]
    clock: list[tuple[float, float]]

    @property
    def minutes(self) -> float:
        """How long it trained."""
        return self.clock[-1][1]


def read(run: Path, metric: str | None) -> tuple[Curves, str]:
    """The curves of a run, and the name of its metric."""
    file = run if run.is_file() else run / "metrics.jsonl"
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise Wrong(f"`{file}` must be the log of a run, but cannot be read ({error}).") from error
    # An averaged model is measured once, after training: no point of a curve.
    rows = [row for row in rows if "averaged" not in row]
    validated = [row for row in rows if "valid_loss" in row]
    known = list(dict.fromkeys(key for row in validated for key in row if key not in NO_METRICS))
    name = metric or (known[0] if known else "valid_loss")
    if not any(name in row for row in validated) or not any("loss" in row for row in rows):
        raise Wrong(
            f"`{file}` must have a loss and the metric `{name}`, but has {', '.join(known) or 'no validation'}."
        )
    clock = [(0.0, 0.0), *((row["step"], row["time_seconds"] / 60) for row in rows if "time_seconds" in row)]
    title = file.parent.name if file.name == "metrics.jsonl" else file.stem
    return Curves(title, _points(rows, "loss"), _points(validated, name), clock), name


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """(step, value) of each row that has the key, the last one where a step came twice (a run that was resumed)."""
    return sorted({row["step"]: row[key] for row in rows if isinstance(row.get(key), int | float)}.items())


def thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points: means of equal stretches, so that a picture stays small and shows more than noise."""
    size = -(-len(points) // most)
    stretches = [points[place : place + size] for place in range(0, len(points), size)]
    return [tuple(sum(side) / len(part) for side in zip(*part, strict=True)) for part in stretches]  # type: ignore[misc]


def draw(runs: Sequence[Curves], metric: str) -> str:
    """The picture, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    style = {
        "svg.hashsalt": "antiphon",  # the same names of parts in each file
        "svg.fonttype": "none",  # text stays text: small, sharp, and in the reader's font
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.prop_cycle": mpl.cycler(color=COLORS),
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GRAY),
    }
    with mpl.rc_context(style):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        left = figure.subplots()
        right = left.twinx()
        marker = "o" if sum(len(run.metric) for run in runs) <= MARKED else ""
        for number, run in enumerate(runs):
            color = COLORS[number % len(COLORS)] if len(runs) > 1 else None
            loss = thinned(run.loss, 2 * LOSSES // (len(runs) + 1))
            left.plot(*zip(*loss, strict=True), color=color or COLORS[1], linewidth=1, alpha=0.6)
            points = zip(*run.metric, strict=True)
            right.plot(*points, color=color or COLORS[0], linewidth=1.8, marker=marker, markersize=3.5)
        _label(left, right, runs, metric)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _label(left: Any, right: Any, runs: Sequence[Curves], metric: str) -> None:
    """Names of axes, grid, minutes and legend."""
    one = len(runs) == 1
    left.set_xlabel("step")
    left.set_ylabel("training loss (thin)", color=COLORS[1] if one else GRAY)
    right.set_ylabel(f"validation {metric}", color=COLORS[0] if one else GRAY)
    left.grid(axis="y", color=GRAY, alpha=0.25, linewidth=0.6)
    left.set_xlim(left=0)
    left.xaxis.set_major_formatter("{x:,.0f}")
    if one:
        steps, minutes = zip(*runs[0].clock, strict=True)
        top = left.secondary_xaxis("top", functions=(_between(steps, minutes), _between(minutes, steps)))
        top.set_xlabel("minutes of training")
        return
    for number, run in enumerate(runs):
        label = f"{run.name} ({run.minutes:.0f} min)"
        right.plot([], [], color=COLORS[number % len(COLORS)], linewidth=1.8, label=label)
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8)


def _between(one: Sequence[float], other: Sequence[float]) -> Any:
    """A function from one clock to the other: straight between the points that were noted, and on behind them."""
    import numpy as np

    end = (one[-1] - one[0]) or 1.0
    pace = (other[-1] - other[0]) / end or 1.0

    def function(values: Any) -> Any:
        values = np.asarray(values, dtype=float)
        inside = np.interp(values, one, other)
        before, behind = other[0] + (values - one[0]) * pace, other[-1] + (values - one[-1]) * pace
        return np.where(values < one[0], before, np.where(values > one[-1], behind, inside))

    return function


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw as the command line says."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or its metrics.jsonl")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.svg")
    parser.add_argument("--metric", help="of the validation (default: the run's first)")
    chosen = parser.parse_args(arguments)
    try:
        found = list(_read_all(chosen.runs, chosen.metric))
    except Wrong as error:
        sys.stderr.write(f"learning_curves: {error}\n")
        return 2
    picture = draw([run for run, _ in found], found[0][1])
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(picture, encoding="utf-8", newline="\n")
    return 0


def _read_all(runs: Sequence[Path], metric: str | None) -> Iterator[tuple[Curves, str]]:
    """Each run; all with the metric of the first, so that their curves can be compared."""
    for run in runs:
        curves, metric = read(run, metric)
        yield curves, metric


if __name__ == "__main__":
    raise SystemExit(main())
