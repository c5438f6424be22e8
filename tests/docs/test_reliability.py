"""docs/reliability.md says what tests/counts.toml and docs/torture.jsonl say; `make torture` records its outcome."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import outcome
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
COUNTS = (ROOT / "tests/counts.toml").read_text(encoding="utf-8")
RECORDS = ROOT / "docs/torture.jsonl"


def test_the_table_is_that_of_the_counts() -> None:
    said = dict(re.findall(r"^\[(\w+)\]\s*# (.*)$", COUNTS, re.MULTILINE))
    expected = {}
    for name, row in tomllib.loads(COUNTS).items():
        files = [
            file.relative_to(ROOT).as_posix()
            for file in sorted((ROOT / "tests").rglob("test_*.py"))
            if f'count("{name}")' in file.read_text(encoding="utf-8")
        ]
        assert files, f"no test uses the count {name}"
        named = ", ".join(f"`{file}`" for file in files)
        expected[name] = f"| `{name}`: {said[name]} | {row['test']:,} | {row['torture']:,} | {named} |"
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `\w+`: ", line)]
    assert rows == list(expected.values())


def test_the_runs_of_the_page_are_recorded() -> None:
    """Not the other way round: a run of `make torture` must not make the next `make test` fail."""
    records = {each["date"]: each for each in outcome.read(RECORDS)}
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| \d{4}-\d\d-\d\dT", line)]
    assert rows
    for date, what, machine, *figures in rows:
        found = records[date]
        failed = found["failed"] + found["error"]
        assert figures == [f"{n:,}" for n in (found["passed"], failed, found["skipped"], found["seconds"])]
        assert all(str(found["machine"][key]) in machine for key in ("processor", "instructions", "cores", "torch"))
        parts = [word for word in found["arguments"] if word.startswith("tests/")]
        assert re.findall(r"`(.*?)`", what) == parts and found["exit_status"] in (0, 1)
    whole = [row for row in rows if records[row[0]]["whole"]]
    assert ("No full run is recorded yet" in PAGE) == (not whole)


def test_a_run_of_the_tests_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "torture.jsonl"
    environment = {**os.environ, "ANTIPHON_OUTCOMES": str(file), "ANTIPHON_TORTURE": "1"}
    words = ["-n", "2", "-p", "no:cacheprovider", "tests/test_registry.py"]
    said = ""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words], cwd=ROOT, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        said = done.stdout
        assert done.returncode == 0, said + done.stderr
    first, second = outcome.read(file)  # a line a run, not one for each worker
    assert first["arguments"] == words and not first["whole"] and first["exit_status"] == 0
    assert first["passed"] == second["passed"] > 0 and first["failed"] == 0 and first["seconds"] >= 0
    assert f"{first['passed']} passed" in said
    assert first["counts"] == {name: row["torture"] for name, row in tomllib.loads(COUNTS).items()}
    assert first["machine"] == outcome.machine() and first["machine"]["processor"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", first["date"])


def test_what_failed_is_recorded() -> None:
    reports = {kind: [SimpleNamespace(nodeid=f"tests/a.py::{kind}")] for kind in ("failed", "error", "passed")}
    line = outcome.record(reports, arguments=["-n", "2"], exit_status=1, began=time.monotonic() - 7)
    assert (line["passed"], line["failed"], line["error"], line["exit_status"], line["whole"]) == (1, 1, 1, 1, True)
    assert line["failures"] == ["tests/a.py::failed", "tests/a.py::error"] and 7 <= line["seconds"] < 60
    assert json.loads(json.dumps(line)) == line


def test_make_torture_asks_for_full_counts_and_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("the_run_py", ROOT / "run.py")
    assert spec is not None and spec.loader is not None
    run_py = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run_py)
    asked: list[tuple[list[str], str | None, str | None]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        asked.append((command[1:], os.environ.get("ANTIPHON_TORTURE"), os.environ.get("ANTIPHON_OUTCOMES")))
        return SimpleNamespace(returncode=0)

    for name in ("ANTIPHON_TORTURE", "ANTIPHON_OUTCOMES"):
        monkeypatch.setenv(name, "")  # to be put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(run_py, "environment", lambda: (Path("venv"), Path("python")))
    monkeypatch.setattr(run_py, "install", lambda *_: None)
    monkeypatch.setattr(
        run_py, "subprocess", SimpleNamespace(run=run, CalledProcessError=subprocess.CalledProcessError)
    )
    assert run_py.main(["test", "-k", "x"]) == 0 == run_py.main(["torture"])
    (test, *neither), (torture, *both) = asked
    assert neither == [None, None] and test[-2:] == ["-k", "x"]
    assert both == ["1", str(RECORDS)] and torture[2:] == outcome.ALL[0]
