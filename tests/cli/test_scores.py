"""How scores are shown: the tables to the letter, and the same figures for programs."""

from __future__ import annotations

import json

import pytest

from antiphon.cli.scores import as_json, as_table
from antiphon.evaluation.groups import grouped
from antiphon.evaluation.measuring import Report
from antiphon.evaluation.metrics import measure

ANSWERS = ["a b", "a c", "b", "b c", "a", "c"]
GOLD = [["a b"], ["a b"], ["b"], ["b"], ["a"], ["c"]]
NAMES = ["fre"] * 4 + ["vie"] * 2
SOURCES = ["?"] * 6


def report(*metrics: str, by: bool = False) -> Report:
    parts = grouped(NAMES, ANSWERS, GOLD, metrics) if by else None
    return Report(measure(ANSWERS, GOLD, metrics), SOURCES, GOLD, [None] * 6, 0.5, parts)  # type: ignore[list-item]


def test_a_line_for_each_metric() -> None:
    assert as_table(report("error_rate", "per")).splitlines() == [
        "error_rate   33.33  [0.00, 66.67]     nrefs:1|case:mixed",
        "per          25.00  [0.00, 57.14]     nrefs:1|case:mixed|unit:phone",
    ]


def test_tables_of_metrics_stand_below() -> None:
    lines = as_table(report("accuracy", "confusion")).splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["accuracy", "confusion"]
    assert lines[2:] == [
        "",
        "reference \\ answer       a     a b       b       c  (no label)  recall",
        "a                        1       0       0       0           0  100.00",
        "a b                      0       1       0       0           1   50.00",
        "b                        0       0       1       0           1   50.00",
        "c                        0       0       0       1           0  100.00",
        "precision           100.00  100.00  100.00  100.00",
        "No known label: 2 of 6 answers, `a c` (1), `b c` (1)",
    ]


def test_a_row_for_each_group_and_the_macro_mean() -> None:
    assert as_table(report("error_rate", "per", by=True), by="tag").splitlines()[2:] == [
        "",
        "tag          pairs  error_rate    per",
        "fre              4       50.00  33.33",
        "vie              2        0.00   0.00",
        "macro mean               25.00  16.67",
        "  95 % from               0.00   0.00",
        "  to                     50.00  37.50",
    ]


def test_json_holds_the_same_figures() -> None:
    mine = report("error_rate", "confusion", by=True)
    found = json.loads(as_json(mine))
    assert found["segments"] == 6 and found["seconds"] == 0.5
    assert found["metrics"]["error_rate"]["score"] == pytest.approx(100 / 3)
    assert "details" not in found["metrics"]["error_rate"]
    details = found["metrics"]["confusion"]["details"]
    assert details["labels"] == ["a", "a b", "b", "c"] and details["counts"][1] == [0, 1, 0, 0]
    assert found["groups"]["fre"]["segments"] == 4
    assert found["groups"]["fre"]["metrics"]["error_rate"]["score"] == 50
    assert found["macro"]["error_rate"] == {"score": 25.0, "interval": [0.0, 50.0]}
