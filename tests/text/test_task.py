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


@pytest.mark.parametrize(
    ("task", "record", "pair"),
    [
        ("summarization", {"document": "long", "summary": "short"}, ("long", "short")),
        ("summarization", {"article": "long", "highlights": "short"}, ("long", "short")),
        ("summarization", {"source": "long", "target": "short", "text": "no"}, ("long", "short")),
        ("summarization", {"dialogue": "long"}, ("long", None)),
        ("classification", {"sentence": "good", "label": "1"}, ("good", "1")),
        ("classification", {"source": "good", "target": "1", "label": "0"}, ("good", "1")),
    ],
)
def test_built_in_tasks_know_the_usual_fields(task, record, pair):
    assert load_task(task).pair(record) == pair


def test_a_record_without_any_of_them_names_what_it_needs():
    with pytest.raises(DataError, match="must have the field `source`, but has review"):
        load_task("summarization").pair({"review": "x"})


def test_labels_get_their_names_and_unknown_ones_their_row():
    task = load_task("classification", labels={"0": "negative", "1": "positive"})
    assert task.pair({"sentence": "good", "label": "1"}) == ("good", "positive")
    assert task.pair({"sentence": "good", "label": "positive"}) == ("good", "positive")
    assert task.pair({"sentence": "good"}) == ("good", None)
    with pytest.raises(DataError, match=r"one of `0`, `1`, but is `2` \(dev.tsv:7\). Correct the row, or add"):
        task.pair({"sentence": "good", "label": "2"}, where="dev.tsv:7")


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
