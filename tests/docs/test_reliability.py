"""docs/reliability.md has what rows.toml, counts.toml and docs/torture.jsonl have; every row and test of it exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from torture import page, plan
from torture.records import Record, newest, read, record
from torture.resume import Outcome

ROOT = Path(__file__).resolve().parents[2]
ASKED = (*range(1, 15), *range(25, 36))


def test_the_tables_are_those_of_the_records() -> None:
    """`make torture` writes both, so that it makes no `make test` fail; else: python tests/torture/page.py."""
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.filled(text, read()), "run `python tests/torture/page.py`"


def test_every_row_is_there_and_its_tests_exist() -> None:
    rows = plan.rows()
    assert [row.number for row in rows] == list(ASKED)
    for row in rows:
        for name in row.tests:
            file, _, function = name.partition("::")
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert function in found if function else any(each.startswith("test_") for each in found), name


def test_every_count_is_used() -> None:
    used = {name for file in plan.files() for name in plan.counts_of(file)}
    assert used == set(page.plan.tomllib.loads(plan.COUNTS.read_text(encoding="utf-8")))


def outcomes(*failed: str) -> list[Outcome]:
    names = [f"tests/a.py::test_one[{number}]" for number in range(3)] + ["tests/a.py::test_two"]
    figures = {"inputs": ["add", 400], "difference": ["most", 2e-12], "rest": ["least", 3.0]}
    return [
        Outcome(
            name, "failed" if name in failed else "passed", 2.5, "AssertionError" if name in failed else "", figures
        )
        for name in names
    ]


def made(*failed: str, left: int = 0, file: str = "tests/a.py") -> Record:
    return record(file, outcomes(*failed), left=left, counts={"kills": 200})


def reached(*tests: str, records: list[Record]) -> str:
    row = plan.Row(99, "promise", "asked", tests)
    return page.reached(row, newest(records))[0]


def test_what_a_row_reached() -> None:
    found = reached("tests/a.py::test_one", records=[made()])
    assert found == "1,200 inputs; difference at most 2e-12; rest at least 3; 3 tests passed"
    assert reached("tests/a.py", records=[made()]).endswith("4 tests passed")
    assert "**1 failed**" in reached("tests/a.py", records=[made("tests/a.py::test_two")])
    assert "failed" not in reached("tests/a.py::test_one", records=[made("tests/a.py::test_two")])
    assert "5 tests of the same files not run yet" in reached("tests/a.py", records=[made(left=5)])
    assert "not run yet: `tests/b.py`" in reached("tests/a.py", "tests/b.py", records=[made()])
    assert "not run yet: `tests/a.py::test_six`" in reached("tests/a.py::test_six", records=[made()])
    assert reached("tests/c.py", records=[made()]) == "not run yet" and reached(records=[]) == "no test yet"


def test_the_newest_record_counts_and_a_stopped_run_replaces_no_whole_one() -> None:
    whole, stopped = made("tests/a.py::test_two"), made(left=2)
    assert newest([whole, stopped]) == {"tests/a.py": whole}
    assert newest([stopped, whole]) == {"tests/a.py": whole}
    assert newest([whole, made()])["tests/a.py"].failures == {}


def test_a_record_says_what_failed_where_and_on_what_machine() -> None:
    found = made("tests/a.py::test_one[1]")
    assert found.failures == {"test_one[1]": "AssertionError"} and found.seconds == 10
    assert found.tests["test_one"]["passed"] == 2 and found.tests["test_one"]["failed"] == 1
    assert found.machine["processor"] and found.machine["torch"] and found.counts == {"kills": 200}


@pytest.mark.parametrize("mark", ["rows", "counts", "files"])
def test_a_page_without_the_mark_is_an_error(mark: str) -> None:
    text = page.PAGE.read_text(encoding="utf-8").replace(f"<!-- table: {mark} -->", "")
    with pytest.raises(ValueError, match=f"must have the line <!-- table: {mark} -->"):
        page.filled(text, [])
