"""Tasks by name and of one's own."""

from __future__ import annotations

import pytest

from antiphon.errors import ConfigError, DataError
from antiphon.registry import register
from antiphon.text import load_task

OWN = """
def verdict(record):
    return "review: " + record["review"], record.get("label")

def broken(record):
    return record["review"]

def failing(record):
    return 1 / 0

number = 3
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own_task_module.py").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize("name", ["translation", "text"])
def test_the_two_tasks_read_source_and_target(name):
    task = load_task(name)
    assert task.name == name
    assert task.pair({"source": "a", "target": "b", "more": "c"}) == ("a", "b")
    assert task.split({"source": "a"}) == ("a", None)


def test_a_task_of_ones_own_is_one_function(folder):
    task = load_task("own_task_module:verdict", folder)
    assert task.pair({"review": "good", "label": "yes"}) == ("review: good", "yes")
    assert task.pair({"review": "good"}) == ("review: good", None)
    assert task.name == "own_task_module:verdict"


def test_a_registered_task_is_found_by_name():
    @register("task", "backwards")
    def backwards(record):
        return record["source"], record["source"][::-1]

    assert load_task("backwards").pair({"source": "abc"}) == ("abc", "cba")


def test_a_name_from_a_model_folder_is_not_imported(folder):
    with pytest.raises(ConfigError, match="not imported unasked"):
        load_task("own_task_module:verdict", folder, allow_import=False)


def test_wrong_names(folder):
    with pytest.raises(ConfigError, match="did you mean `translation`"):
        load_task("translations")
    with pytest.raises(ConfigError, match="has no `verdikt`, did you mean `verdict`"):
        load_task("own_task_module:verdikt", folder)
    with pytest.raises(ConfigError, match="must be a function from a record to a pair, but is 3"):
        load_task("own_task_module:number", folder)


def test_errors_name_the_line_and_the_remedy(folder):
    with pytest.raises(
        DataError, match=r"must have the field `source`, but has sourc, target \(x.tsv:3\), did you mean"
    ):
        load_task("text").pair({"sourc": "a", "target": "b"}, where="x.tsv:3")
    with pytest.raises(DataError, match=r"must return a source and a target .* but returned 'bad' \(x.jsonl:7\)"):
        load_task("own_task_module:broken", folder).pair({"review": "bad"}, where="x.jsonl:7")
    with pytest.raises(DataError, match=r"raised ZeroDivisionError: division by zero \(x.jsonl:7\)"):
        load_task("own_task_module:failing", folder).pair({}, where="x.jsonl:7")
