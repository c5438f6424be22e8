"""Which runs a page shows and what it knows of them: found by folder, empty, deleted, made later, truncated."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from watching.logs import append, make_run, training_row

from antiphon.errors import ConfigError
from antiphon.watching import runs as module
from antiphon.watching.discovery import find_runs
from antiphon.watching.runs import WatchedRun, WatchedRuns


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def watching(*paths: Path, expected: bool = False) -> Iterator[WatchedRuns]:
    found = WatchedRuns(paths, expected=expected)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def test_runs_are_found_below_a_folder_and_have_short_names(tmp_path: Path) -> None:
    for name in ("a/run", "b/run", "c/deep/other", "d", ".hidden/run"):
        make_run(tmp_path / name)
    (tmp_path / "no run").mkdir()
    assert [*find_runs([tmp_path])] == ["a/run", "b/run", "other", "d"]
    assert [*find_runs([tmp_path / "a", tmp_path / "a" / "run", tmp_path / "d"])] == ["run", "d"]


@pytest.mark.parametrize(("path", "what"), [("nowhere", "is not there"), ("empty", "has neither")])
def test_a_path_without_a_run_is_refused_in_one_line(tmp_path: Path, path: str, what: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=what) as raised:
        WatchedRuns([tmp_path / path])
    assert str(tmp_path / path) in str(raised.value) and "\n" not in str(raised.value)


def test_an_empty_run_is_shown_until_it_has_rows(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: text\n")
    run = WatchedRun("run", tmp_path)
    assert run.read() is False
    assert (run.summary()["rows"], run.summary()["problem"], run.summary()["figures"]) == (0, "", [])
    append(tmp_path / "metrics.jsonl", [training_row(10)])
    run.read()
    assert run.summary()["rows"] == 1 and run.summary()["last"]["step"] == 10


def test_what_was_read_of_a_deleted_run_stays(tmp_path: Path) -> None:
    run = WatchedRun("run", make_run(tmp_path / "run"))
    run.read()
    rows = run.summary()["rows"]
    shutil.rmtree(tmp_path / "run")
    run.read()
    assert run.summary()["problem"] == "gone" and run.summary()["rows"] == rows > 100
    make_run(tmp_path / "run", steps=500)  # another one in its place
    run.read()
    assert run.summary()["problem"] == "" and run.summary()["last"]["step"] == 500
    assert run.summary()["generation"] == 1


def test_a_truncated_log_is_read_again_and_the_page_told(tmp_path: Path) -> None:
    run = WatchedRun("run", make_run(tmp_path))
    run.read()
    file = tmp_path / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:50]))
    append(file, [training_row(5000)])
    run.read()
    summary = run.summary()
    assert (summary["rows"], summary["last"]["step"], summary["generation"]) == (51, 5000, 1)
    head, _ = run.figures(["step", "loss"], start=50, generation=0)
    assert head == {"generation": 1, "start": 0, "rows": 51, "names": ["step", "loss"]}
    head, _ = run.figures(["step", "bleu", "nonsense"], start=50, generation=1)
    assert head["start"] == 50 and head["names"] == ["step", "bleu"]


def test_a_long_log_is_first_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE_BYTES", 1000)
    monkeypatch.setattr(module, "SAMPLED_ROWS", 20)
    append(tmp_path / "metrics.jsonl", map(training_row, range(1, 4001)))
    run = WatchedRun("run", tmp_path)
    run.sample_large_log()
    assert (run.summary()["rows"], run.summary()["read"]) == (20, 0.0)
    while run.read():
        assert run.summary()["rows"] == 20 and 0 < run.summary()["read"] < 1
    assert (run.summary()["rows"], run.summary()["read"], run.summary()["generation"]) == (4000, 1.0, 1)


def test_samples_follow_their_file(tmp_path: Path) -> None:
    run = WatchedRun("run", make_run(tmp_path))
    run.read()
    found = run.answers(start=0, generation=0)
    assert [row["step"] for row in found["rows"]] == [200, 400, 600, 800, 1000]
    assert run.answers(start=4, generation=0)["rows"] == found["rows"][4:]
    (tmp_path / "samples.jsonl").write_text('{"step": 200, "source": "a", "reference": "b", "answer": "c"}\n')
    run.read()
    found = run.answers(start=4, generation=0)
    assert (found["generation"], found["start"], len(found["rows"])) == (1, 0, 1)


def test_runs_that_are_made_later_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_READS", 0.02)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SEARCHES", 0.02)
    with watching(tmp_path, expected=True) as runs:
        assert runs.summaries() == []
        make_run(tmp_path / "first")
        wait_for(lambda: [run.name for run in runs.all] == ["first"])
        make_run(tmp_path / "second" / "first")
        wait_for(lambda: len(runs.all) == 2)
        assert runs.all[0].name == "first" and runs.all[1].name != "first"  # names that a page knows do not change
        wait_for(lambda: all(each["rows"] for each in runs.summaries()))


def test_nothing_is_read_while_nobody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_READS", 0.02)
    monkeypatch.setattr(module, "SECONDS_AFTER_REQUEST", 0.05)
    with watching(make_run(tmp_path / "run")) as runs:
        wait_for(lambda: runs.summaries()[0]["rows"])
        time.sleep(0.3)
        append(tmp_path / "run" / "metrics.jsonl", [training_row(2000)])
        time.sleep(0.3)
        assert runs.summaries()[0]["last"]["step"] == 1000 and not runs.is_seen
        runs.requested()
        assert runs.is_seen
        wait_for(lambda: runs.summaries()[0]["last"]["step"] == 2000)
