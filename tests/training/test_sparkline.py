"""The curves in the terminal: never wider than it, from the lowest value to the highest, for runs of any length."""

from __future__ import annotations

import math
import random

import pytest
from rich.cells import cell_len

from antiphon.training.reporting.sparkline import BLOCKS, GAP, MAX_VALUES, Sparklines, sparkline


def test_heights_go_from_the_lowest_value_to_the_highest() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == BLOCKS
    assert sparkline([8, 1], 8) == "█▁" and sparkline([5, 5, 5], 3) == "▁▁▁"
    assert sparkline([1, 10, 100, 1000], 4, log=True) == "▁▃▆█" and sparkline([1, 10, 100, 1000], 4) == "▁▁▁█"


def test_a_column_is_the_mean_of_its_values_and_not_finite_ones_are_gaps() -> None:
    assert sparkline([0, 2, 10, 30], 2) == "▁█"
    assert sparkline([1.0, math.nan, math.inf, 2.0], 4) == f"▁{GAP}{GAP}█"
    assert sparkline([math.nan, math.nan], 2) == GAP * 2


@pytest.mark.parametrize("width", [*range(0, 40, 3), 79, 120])
def test_the_line_fits(width: int) -> None:
    curves, chance = Sparklines(), random.Random(0)
    for step in range(1, 3 * MAX_VALUES, 3):
        curves.add({"step": step, "loss": 7 * math.exp(-step / 2000) + chance.random() / 10, "lr": 1e-3})
        if step % 100 == 0:
            row = {"valid_loss": 1.0, "exact_match": step / 200, "chrf": 3.0, "entropy_cross": 1.0}
            curves.add({"step": step, "epoch": 1, "time_seconds": 1.0, **row})
    line = curves.line(width)
    assert cell_len(line) <= width
    assert width < 24 or (line.startswith("loss ") and line[-1].isdigit())
    assert width < 79 or ("exact_match 0.5 " in line and "chrf" not in line and "valid_loss" not in line)


def test_there_is_no_line_before_there_are_two_values() -> None:
    curves = Sparklines()
    assert curves.line(79) == ""
    curves.add({"step": 1, "loss": 2.0})
    assert curves.line(79) == ""
    curves.add({"step": 2, "loss": 1.0})
    curves.add({"step": 2, "valid_loss": 1.5})
    assert curves.line(79) == "loss 2 █▁ 1"
    curves.add({"step": 3, "valid_loss": 1.25, "nothing": None})
    assert curves.line(79) == "loss 2 █▁ 1   valid_loss 1.5 █▁ 1.25"


def test_a_long_history_keeps_its_shape() -> None:
    curves = Sparklines()
    for step in range(10 * MAX_VALUES):
        curves.add({"step": step, "loss": 100.0 + step})
    assert MAX_VALUES // 2 <= len(curves._histories["loss"].values) <= MAX_VALUES
    assert curves.line(79).startswith("loss 100 ▁") and curves.line(79).endswith("█ 1.03e+04")
    shown = curves.line(79).split()[2]
    assert shown == "".join(sorted(shown)) and len(shown) > 50 and {*shown} == {*BLOCKS}
