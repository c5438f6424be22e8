"""Rows that cannot be read: all of them in one error, up to ten, or left out and counted."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import antiphon
from antiphon.config import SourceConfig
from antiphon.data import DataReport, Mixture, cases, load_filters, records
from antiphon.data.lines import Cursor
from antiphon.data.sources import readers
from antiphon.errors import DataError
from antiphon.text import Task, load_task

TASK = load_task("translation")
GOOD = [("a", "A"), ("b", "B"), ("c", "C")]


def write(folder: Path, name: str, content: str | bytes) -> str:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder / name)


def row(source: Any, target: Any) -> str:
    return json.dumps({"source": source, "target": target}) + "\n"


def data_of(folder: Path, kind: str) -> tuple[object, list[int]]:
    """Three good rows among bad ones of several kinds, and the lines of the bad ones."""
    if kind == "tsv":
        return SourceConfig(path=write(folder, "x.tsv", b"a\tA\nx\nb\tB\nx\ty\tz\n\xff\tX\nc\tC\n")), [2, 4, 5]
    if kind == "header":
        return SourceConfig(path=write(folder, "x.tsv", "source\ttarget\na\tA\nx\ty\tz\nb\tB\nc\tC\nx\n")), [3, 6]
    if kind == "csv":
        text = 'source,target\na,A\nx,"y"y\nb,B\nx\ry,z\nx,y,z\nc,C\n'
        return SourceConfig(path=write(folder, "x.csv", text)), [3, 5, 6]
    if kind == "jsonl":
        text = row("a", "A") + "{nothing\n[1]\n" + row("b", "B") + row("x", None)
        text += row(float("nan"), "y") + row("c", "C")
        return SourceConfig(path=write(folder, "x.jsonl", text.encode() + b'{"\xff": 1}\n')), [2, 3, 5, 6, 8]
    if kind == "aligned":
        left, right = write(folder, "x.en", b"a\n\xff\nb\nx\nc\n"), write(folder, "x.de", b"A\nX\nB\n\xfe\nC\n")
        return SourceConfig(source=left, target=right), [2, 4]
    if kind == "template":
        text = row("a", "A") + '{"target": "y"}\n' + row("b", "B") + row("c", "C")
        return SourceConfig(path=write(folder, "x.jsonl", text), source_field="{source}", target_field="target"), [2]
    if kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        table = pa.table({"source": ["a", None, "b", "c"], "target": ["A", "x", "B", "C"]})
        parquet.write_table(table, folder / "x.parquet")
        return SourceConfig(path=str(folder / "x.parquet")), [2]
    return [("a", "A"), ("x",), {"source": "b", "target": "B"}, {"source": "x"}, None, ("c", "C")], [1, 3, 4]


KINDS = ["tsv", "header", "csv", "jsonl", "aligned", "template", "parquet", "python"]


def read(data: object, **settings: Any) -> list[tuple[str, str]]:
    return [(source, target) for source, target, _ in records(data, TASK, **settings)]


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_left_out_and_counted(kind: str, tmp_path: Path) -> None:
    data, bad = data_of(tmp_path, kind)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert read(data, bad_rows="skip") == GOOD
    assert len(said) == len(bad) and all(str(one.message).startswith("a bad row is left out: ") for one in said)
    for line, one in zip(bad, said, strict=True):
        assert (f":{line})" if kind != "python" else f"pairs[{line}]") in str(one.message)
    with pytest.warns(UserWarning):
        assert [(one, targets) for one, targets, _ in cases(data, TASK, bad_rows="skip")] == [
            (source, [target]) for source, target in GOOD
        ]
        report = DataReport()
        items = list(Mixture(data, TASK, bad_rows="skip").once(report))
    assert [(item.source, item.target) for item in items] == GOOD
    assert (report.read, report.bad, report.kept) == (3 + len(bad), len(bad), 3)
    assert f"{len(bad)} bad rows left out" in str(report)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_names_all_of_them_in_one_line(kind: str, tmp_path: Path) -> None:
    data, bad = data_of(tmp_path, kind)
    for use in (read, lambda data: list(cases(data, TASK)), lambda data: list(Mixture(data, TASK).once(DataReport()))):
        with pytest.raises(DataError) as caught:
            use(data)
        said = str(caught.value)
        assert "\n" not in said
        for line in bad:
            assert (f":{line}" if kind != "python" else f"pairs[{line}]") in said
        assert ("bad too" in said) == (len(bad) > 1)


def test_at_most_ten_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "x.tsv", "a\tA\n" + "x\ty\tz\n" * 30)
    with pytest.raises(DataError) as caught:
        read(SourceConfig(path=path))
    said = str(caught.value)
    assert "at least 9 other rows are bad too: " in said and said.count("x.tsv:") == 10 and "x.tsv:11" in said
    assert said.count("stray separator") == 1  # the same problem is named once


def test_the_first_ten_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path, "x.tsv", "a\tA\n" + "x\ty\tz\n" * 30 + "b\tB\n")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert read(SourceConfig(path=path), bad_rows="skip") == GOOD[:2]
    assert len(said) == 10


def test_a_quote_that_takes_the_rest_of_the_file_is_an_error_even_so(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", 'source,target\na,A\n"b,B\nc,C\n')
    with pytest.raises(DataError, match="Close each quote"):
        read(SourceConfig(path=path), bad_rows="skip")


def test_so_is_a_first_row_that_does_not_say_what_the_columns_are(tmp_path: Path) -> None:
    source = SourceConfig(path=write(tmp_path, "x.tsv", b"\xff\tA\nb\tB\n"))
    with pytest.raises(DataError, match="UTF-8"):
        read(source, bad_rows="skip")


def test_rows_of_a_task_that_fails_are_bad_too() -> None:
    def half(record: Any) -> tuple[str, str]:
        return record["source"], {"A": "1", "C": "3"}[record["target"]]

    with pytest.warns(UserWarning, match=r"must have the field `B`.*pairs\[1\]"):
        found = [pair[:2] for pair in records(GOOD, Task("half", half), bad_rows="skip")]
    assert found == [("a", "1"), ("c", "3")]


@pytest.mark.parametrize("kind", KINDS)
def test_reading_goes_on_from_every_cursor(kind: str, tmp_path: Path) -> None:
    data, bad = data_of(tmp_path, kind)
    [reader] = readers(data)
    rows = list(reader(Cursor()))
    assert {row.place.line for row in rows if row.fault is not None} <= set(bad)
    for number, row in enumerate(rows):
        assert [other.place for other in reader(row.cursor)] == [other.place for other in rows[number + 1 :]]


@pytest.mark.filterwarnings("ignore:a bad row")
def test_an_epoch_holds_the_same_pairs_behind_every_spot(tmp_path: Path) -> None:
    """Streamed, with and without a survey, the bad rows are where they were."""
    data, _ = data_of(tmp_path, "tsv")
    for filters in (None, load_filters(["duplicates"])):
        mixture, report = Mixture(data, TASK, filters, bad_rows="skip"), DataReport()
        if mixture.needs_survey:
            mixture.survey(report)
            assert (report.read, report.bad) == (6, 3)
        whole = list(mixture.epoch(mixture.start_positions(), seed=1, epoch=0, report=DataReport()))
        assert [(item.source, item.target) for item in whole] == GOOD
        for number, item in enumerate(whole):
            rest = list(mixture.epoch([item.position], seed=1, epoch=0, report=DataReport()))
            assert [other.source for other in rest] == [other.source for other in whole[number + 1 :]]


def recipe(folder: Path, **data: Any) -> dict[str, Any]:
    rows = "".join(f"in {i} hours\tin {i} Stunden\n" for i in range(40))
    train = write(folder, "train.tsv", rows + "a\tb\tc\n" + rows + "d\n")
    valid = write(folder, "valid.tsv", "in 3 hours\tin 3 Stunden\nx\n")
    return {
        "data": {"train": {"path": train}, "valid": {"path": valid}, **data},
        "tokenizer": {"kind": "bytes", "vocab_size": 260},
        "model": {"preset": "tiny", "d_model": 16, "ffn_dim": 16, "num_heads": 2, "max_length": 64},
        "training": {"max_steps": 2, "batch_tokens": 256},
        "validation": {"every_steps": 2, "metrics": ["chrf"]},
        "output": str(folder / "run"),
    }


@pytest.mark.filterwarnings("ignore:a bad row")
@pytest.mark.parametrize("streaming", ["never", "always"])
def test_a_run_says_how_many(streaming: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = antiphon.train(recipe(tmp_path, bad_rows="skip", streaming=streaming))
    assert run.metrics
    if streaming == "never":
        assert "82 pairs read, 80 kept, 2 bad rows left out" in capsys.readouterr().err


def test_a_run_without_it_is_refused_with_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.tsv:41\).*1 other row is bad too.*train\.tsv:82") as caught:
        antiphon.train(recipe(tmp_path), quiet=True)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:a bad row")
def test_a_label_that_is_not_known_is_left_out(tmp_path: Path) -> None:
    rows = [("good", "yes"), ("bad", "no"), ("odd", "maybe")] * 4
    config = recipe(tmp_path, train=rows, valid=None, labels=["yes", "no"], bad_rows="skip")
    config = {**config, "task": "classification", "validation": {}}
    run = antiphon.train(config, quiet=True)
    assert run.model.labels == ["yes", "no"]
    with pytest.raises(DataError, match=r"but is `maybe` \(pairs\[2\]\).*3 other rows are bad too: pairs\[5\]"):
        antiphon.train({**config, "data": {**config["data"], "bad_rows": "error"}, "output": str(tmp_path / "b")})
