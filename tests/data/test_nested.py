"""Values inside values: lists of texts, and what a task makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.config import SourceConfig
from antiphon.data import cases, records
from antiphon.data.lines import Cursor, DataPlace
from antiphon.data.nested import nested_row
from antiphon.errors import DataError
from antiphon.text import Task, load_task

TASK = load_task("translation")


def pairs_of(source: object) -> list[tuple[str, str]]:
    return [(left, right) for left, right, _ in records(source, TASK)]


def test_lists_are_joined_in_the_source_and_several_targets(tmp_path: Path) -> None:
    lists = [{"source": ["a", "b"], "target": ["A", "B"]}, {"source": "c", "target": ["C"]}]
    text = "".join(json.dumps(record) + "\n" for record in [*lists, {"source": "d", "target": "D"}])
    (tmp_path / "x.jsonl").write_text(text)
    source = SourceConfig(path=str(tmp_path / "x.jsonl"))
    assert pairs_of(source) == [("a b", "A"), ("a b", "B"), ("c", "C"), ("d", "D")]
    found = list(cases(source, TASK))
    assert [(one, targets) for one, targets, _ in found] == [("a b", ["A", "B"]), ("c", ["C"]), ("d", ["D"])]
    assert [str(place) for *_, place in found] == [f"{tmp_path / 'x.jsonl'}:{line}" for line in (1, 2, 3)]
    # records and cases are the same pairs, whatever the task makes of them
    loud = Task("loud", lambda record: (record["source"].upper(), record["target"] * 2))
    flat = [(one, target, place) for one, targets, place in cases(source, loud) for target in targets]
    assert flat == list(records(source, loud))
    assert pairs_of([{"source": ["a", "b"], "target": ["A", "B"]}]) == [("a b", "A"), ("a b", "B")]


@pytest.mark.parametrize(
    ("found", "field", "wanted"),
    [
        ({"a": {"b": "x"}}, "a.b", "x"),
        ({"a": {"b": {"c": ["x", 1, True]}}}, "a.b.c", "x 1 true"),
        ({"a.b": "y", "a": {"b": "x"}}, "a.b", "y"),  # a key of that very name
        ({"a": [0.5]}, "a", "0.5"),
        ({"a": []}, "a", ""),  # an empty source is skipped and counted
    ],
)
def test_where_a_value_is_found(found: dict, field: str, wanted: str) -> None:
    row = nested_row(found, SourceConfig(path="x.jsonl", source_field=field), DataPlace("x", 1), Cursor())
    assert row.record["source"] == wanted


@pytest.mark.parametrize("found", [{"a": None}, {"a": {"b": 1}}, {"a": [["x"]]}, {"a": [None]}, {"a": [{}]}, {}])
def test_what_is_no_text(found: dict) -> None:
    kinds = r"is (null|a mapping|a list|not among none)"
    with pytest.raises(DataError, match=rf"the field `a` must be a text or a list of texts, but {kinds} \(x:1\)\. Set"):
        nested_row(found, SourceConfig(path="x.jsonl", source_field="a"), DataPlace("x", 1), Cursor())
