"""`generate`, `score` and `evaluate` of many files: their outputs are those of one file at a time.

The work is done in this process (tests/bulk/inline.py); tests/bulk/test_processes.py has real ones.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from bulk.inline import InlinePool

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.bulk.run.WorkerPool", InlinePool)


def texts(count: int, seed: int) -> list[str]:
    return [" ".join(WORDS[(seed + row * 3 + word) % 8] for word in range(1 + row % 4)) for row in range(count)]


def as_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def write_shards(folder: Path) -> dict[str, bytes]:
    """A file of each kind, with columns beside the text; the content by name."""
    folder.mkdir()
    objects = [json.dumps({"id": n, "source": text, "more": {"a": [n]}}) for n, text in enumerate(texts(9, 1))]
    rows = [["id", "source"], *([str(n), text] for n, text in enumerate(texts(8, 2)))]
    content = {
        "a.jsonl": "".join(f"{line}\n" for line in objects).encode(),
        "b.csv": as_csv([*rows, ["9", 'two\r\n"three", four']]),
        "c.tsv": "".join("\t".join(row) + "\n" for row in rows).encode(),
        "d.txt": "\n".join(["one", "", *texts(7, 3), "six"]).encode(),
        "e.jsonl.gz": gzip.compress("".join(f"{line}\n" for line in objects[::-1]).encode()),
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return content


@pytest.mark.parametrize(
    "flags", [[], ["--json", "--n-best", 2], ["--temperature", 1.5, "--beam-size", 1, "--seed", 4]]
)
def test_generate_equals_one_file_at_a_time(run, model_folder: Path, tmp_path: Path, flags: list[object]) -> None:
    shards = write_shards(tmp_path / "in")
    words = ["generate", model_folder, "--quiet", *flags]
    ended = run(*words, "--input", tmp_path / "in" / "*", "--output", tmp_path / "out", "--processes", 2)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert not (tmp_path / "out" / "failures").exists()
    for name in shards:
        plain = name.removesuffix(".gz")
        made = Path(plain).with_suffix(".jsonl").name if "--json" in flags else plain
        alone = tmp_path / f"alone-{made}"
        assert run(*words, "--input", tmp_path / "in" / name, "--output", alone).code == 0
        assert (tmp_path / "out" / made).read_bytes() == alone.read_bytes()
        assert len(alone.read_bytes()) > 50


def test_parquet_keeps_columns_and_their_types(run, model_folder: Path, tmp_path: Path) -> None:
    import datetime

    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    days = [datetime.date(2026, 1, 1 + row) for row in range(9)]
    columns = {"day": days, "text": texts(9, 1), "more": [{"a": [row]} for row in range(9)], "raw": [b"\xff"] * 9}
    table = pa.table(columns)
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=4)
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in columns["text"]))
    words = ["generate", model_folder, "--quiet", "--n-best", 2, "--json", "--block-rows", 4]
    ended = run(*words, "--input", tmp_path / "in.parquet", "--source-field", "text", "--output", tmp_path / "out")
    assert (ended.code, ended.err) == (0, "")
    found = parquet.read_table(tmp_path / "out" / "in.parquet")
    assert found.schema.names[:4] == table.schema.names and found.select(table.schema.names).equals(table)
    assert list((tmp_path / "out" / ".bulk").glob("*.pieces")) == []
    lines = [json.loads(line) for line in run(*words[:-2], "--input", tmp_path / "in.txt").lines]
    for row, line in zip(found.to_pylist(), lines, strict=True):
        assert row["answer"] == line["text"] and row["tokens"] == line["tokens"] and row["finished"] == line["finished"]
        assert row["score"] == pytest.approx(line["score"]) and len(row["alternatives"]) == 1
        assert row["alternatives"][0]["text"] == line["alternatives"][0]["text"]
    empty = parquet.ParquetWriter(tmp_path / "none.parquet", table.schema)
    empty.close()
    words = ["generate", model_folder, "--quiet", "--input", tmp_path / "none.parquet", "--source-field", "text"]
    assert run(*words, "--output", tmp_path / "none").code == 0
    assert parquet.read_table(tmp_path / "none" / "none.parquet").schema.names == [*columns, "answer"]


def test_score_equals_one_file_at_a_time(run, model_folder: Path, tmp_path: Path) -> None:
    for shard in range(3):
        for side, seed in (("en", shard), ("de", shard + 4)):
            (tmp_path / f"{shard}.{side}").write_text("".join(f"{text}\n" for text in texts(6, seed)))
        rows = zip(texts(6, shard), texts(6, shard + 4), strict=True)
        (tmp_path / f"{shard}.csv").write_bytes(as_csv([["s", "t"], *(list(row) for row in rows)]))
    words = ["score", model_folder, "--quiet"]
    sides = ["--source", tmp_path / "*.en", "--target", tmp_path / "*.de"]
    assert run(*words, *sides, "--output", tmp_path / "out").code == 0
    fields = ["--source-field", "s", "--target-field", "t"]
    ended = run(*words, "--input", tmp_path / "*.csv", *fields, "--output", tmp_path / "tables", "--processes", 2)
    assert (ended.code, ended.err) == (0, "")
    for shard in range(3):
        alone = run(*words, "--source", tmp_path / f"{shard}.en", "--target", tmp_path / f"{shard}.de")
        assert (tmp_path / "out" / f"{shard}.en").read_text() == alone.out and len(alone.lines) == 6
        header, *rows = csv.reader((tmp_path / "tables" / f"{shard}.csv").open(newline=""))
        assert header == ["s", "t", "score"] and [row[2] for row in rows] == alone.lines


@pytest.mark.parametrize("by", ["file", "tag"])
def test_evaluate_equals_all_rows_at_once(run, model_folder: Path, tmp_path: Path, by: str) -> None:
    data: list[object] = []
    for shard in range(3):
        rows = zip(texts(7, shard), texts(7, shard + 1), strict=True)
        (tmp_path / f"{shard}.tsv").write_text("source\ttarget\n" + "".join(f"{s}\t{t}\n" for s, t in rows))
        data += ["--data", f"{{path: {tmp_path / f'{shard}.tsv'}, tag: t{shard % 2}}}"]
    words = ["evaluate", model_folder, "--quiet", "--json", "--metrics", "chrf,exact_match,wer", "--by", by]
    if by == "file":
        alone = run(*words, *(part for shard in range(3) for part in ("--data", tmp_path / f"{shard}.tsv")))
        many = run(*words, "--data", tmp_path / "*.tsv", "--output", tmp_path / "out")
    else:
        alone, many = run(*words, *data), run(*words, *data, "--output", tmp_path / "out", "--processes", 2)
    assert (many.code, many.err) == (0, "")
    found, expected = json.loads(many.out), json.loads(alone.out)
    assert found.pop("seconds") > 0 and expected.pop("seconds") > 0
    assert found == expected and found["segments"] == 21 and len(found["groups"]) == (3 if by == "file" else 2)
    sources = ["--data", tmp_path / "*.tsv"] if by == "file" else data
    again = run(*words, *sources, "--output", tmp_path / "out", "--resume", "--processes", 1)
    assert json.loads(again.out)["metrics"] == found["metrics"]


def test_evaluate_of_aligned_files_with_two_references(run, model_folder: Path, tmp_path: Path) -> None:
    for shard in range(2):
        for side in range(3):
            (tmp_path / f"{shard}.{side}").write_text("".join(f"{text}\n" for text in texts(5, shard + side)))
    for side in range(3):
        joined = "".join((tmp_path / f"{shard}.{side}").read_text() for shard in range(2))
        (tmp_path / f"whole{side}").write_text(joined)
    words = ["evaluate", model_folder, "--quiet", "--json", "--metrics", "bleu:effective_order=true"]
    sides = ["--source", tmp_path / "?.0", "--target", tmp_path / "?.1", "--target", tmp_path / "?.2"]
    many = run(*words, *sides, "--output", tmp_path / "out", "--processes", 1)
    whole = ["--source", tmp_path / "whole0", "--target", tmp_path / "whole1", "--target", tmp_path / "whole2"]
    alone = run(*words, *whole)
    assert many.code == alone.code == 0
    assert json.loads(many.out)["metrics"] == json.loads(alone.out)["metrics"]
    (tmp_path / "1.2").write_text("one\n")
    ended = run(*words, *sides, "--output", tmp_path / "other", "--processes", 1)
    assert ended.code == 2 and "same number of lines" in ended.err and ended.err.count("\n") == 1


BAD = b'{"source": "one"}\n{"source": 7, \n{"other": 1}\n{"source": "two"}\n'
LONG = " ".join(WORDS * 40)


def test_failures_are_recorded_and_end_nothing(run, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(BAD + json.dumps({"source": LONG}).encode() + b"\n" + b'{"source": "six"}\n')
    (tmp_path / "b.txt").write_bytes(b"one\n\xff\xfe\n" + LONG.encode() + b"\nsix\n")
    words = ["generate", model_folder, "--input", tmp_path / "?.*", "--output", tmp_path / "out"]
    ended = run(*words, "--failures", "record")
    assert ended.code == 0 and "8 rows of 2 shards" in ended.err and "5 failed, see" in ended.err
    rows = [json.loads(line) for line in (tmp_path / "out" / "a.jsonl").read_text().splitlines()]
    assert [row["source"] for row in rows] == ["one", "two", LONG, "six"] and rows[2]["answer"] is None
    assert all(rows[place]["answer"] is not None for place in (0, 1, 3))
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures" / "a.jsonl.jsonl").read_text().splitlines()]
    assert [each["place"].rpartition(":")[2] for each in failures] == ["2", "3", "5"]
    assert "must have at most" in failures[2]["error"] or "tokens" in failures[2]["error"]
    lines = (tmp_path / "out" / "b.txt").read_text().split("\n")
    assert len(lines) == 5 and lines[1] == lines[2] == "" and lines[0] and lines[3]  # a line for each of the input
    good = run("generate", model_folder, "--quiet", input="one\nsix\n").lines
    assert [lines[0], lines[3]] == good == [rows[0]["answer"], rows[3]["answer"]]


def test_failures_end_the_job_with_one_line(run, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"source": "one"}\n' * 4 + BAD)
    words = ["generate", model_folder, "--input", tmp_path / "*.jsonl", "--output", tmp_path / "out", "--block-rows", 2]
    ended = run(*words, "--quiet")
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert "a.jsonl:6" in ended.err and "5 rows are kept" in ended.err and "--quiet --resume` continues" in ended.err
    (tmp_path / "a.jsonl").write_bytes(b'{"source": "one"}\n' * 8)
    ended = run(*words, "--quiet", "--resume")
    assert ended.code == 2 and "must be continued with the inputs that it was begun with" in ended.err
    (tmp_path / "b.txt").write_text(f"one\n{LONG}\n")
    ended = run(
        "generate", model_folder, "--quiet", "--input", tmp_path / "b.txt", "--output", tmp_path / "b", "--processes", 1
    )
    assert ended.code == 2 and "b.txt:2" in ended.err and "0 of 1 shard and 0 rows are kept" in ended.err


def test_bad_rows_are_left_out(run, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(BAD)
    words = [
        "generate",
        model_folder,
        "--bad-rows",
        "skip",
        "--input",
        tmp_path / "*.jsonl",
        "--output",
        tmp_path / "out",
    ]
    ended = run(*words)
    assert ended.code == 0 and "2 rows of 1 shard" in ended.err and "2 failed" in ended.err
    alone = run("generate", model_folder, "--quiet", "--bad-rows", "skip", "--input", tmp_path / "a.jsonl")
    assert (tmp_path / "out" / "a.jsonl").read_text() == alone.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--beam-size", 3], "--beam-size was not given and is 3"),
        (["--json"], "--json was false and is true"),
        (["--failures", "record"], "--failures was error and is record"),
        (["--block-rows", 7], "--block-rows was 4096 and is 7"),
        (["--dtype", "bf16"], "--dtype was not given and is bfloat16"),
    ],
)
def test_other_settings_are_refused(
    run, model_folder: Path, tmp_path: Path, change: list[object], message: str
) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    words = ["generate", model_folder, "--quiet", "--input", tmp_path / "?.txt", "--output", tmp_path / "out"]
    assert run(*words).code == 0
    ended = run(*words, "--resume", *change)
    assert ended.code == 2 and message in ended.err and ended.err.count("\n") == 1
    assert run(*words, "--resume", "--processes", 2, "--threads", 1).code == 0
    ended = run(*words)
    assert ended.code == 2 and "Give --resume to continue it" in ended.err


def test_another_model_or_input_is_refused(run, model_folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "a.txt").write_text("one\n")
    words = ["generate", tmp_path / "model", "--quiet", "--input", tmp_path / "?.txt", "--output", tmp_path / "out"]
    assert run(*words).code == 0
    (tmp_path / "model" / "README.md").write_text("a card")  # answers do not depend on it
    assert run(*words, "--resume").code == 0
    weights = tmp_path / "model" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ended = run(*words, "--resume")
    assert ended.code == 2 and "model.safetensors` has other content of the same length" in ended.err
    weights.write_bytes(content)
    (tmp_path / "b.txt").write_text("two\n")
    ended = run(*words, "--resume")
    assert ended.code == 2 and "b.txt` is new" in ended.err
    (tmp_path / "b.txt").unlink()
    (tmp_path / "out" / "a.txt").write_text("mine")
    ended = run(*words, "--resume")
    assert ended.code == 2 and "must be as it was when it was completed" in ended.err
    (tmp_path / "out" / "a.txt").unlink()
    assert run(*words, "--resume").code == 0 and (tmp_path / "out" / "a.txt").read_text() not in ("", "mine")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "*.none", "--output", "out"], "`*.none` matches none"),
        (["--input", "a.txt", "--input", "a.txt", "--output", "out"], "names `a.txt` twice"),
        (["--input", "a.txt", "--input", "gone.txt", "--output", "out"], "`gone.txt` does not exist"),
        (["--input", "a.txt", "--input", "b.txt"], "Give it as `--output`"),
        (["--input", "a.txt", "--input", "b.txt", "--output", "a.txt"], "`a.txt` is a file"),
        (["--input", "a.txt", "--input", "-", "--output", "out"], "one is standard input"),
        (["--input", "?.txt", "--output", "."], "outputs must not replace inputs"),
        (["--input", "?.txt", "--output", "out", "--source-field", "x"], "`--source-field` needs tables"),
        (["--input", "?.txt", "--output", "out", "--target-field", "x"], "`--target-field` needs --source-field"),
        (["--input", "?.txt", "--output", "out", "--stream"], "`--stream` shows the answers of one input"),
        (["--input", "@list", "--output", "out"], "the list of files `list` must name at least one file"),
        (["--input", "a.txt", "--failures", "record"], "`--failures` needs many inputs"),
        (["--input", "?.txt", "--output", "out", "--max-new-tokens", "0"], "max-new-tokens"),
        (["--input", "?.txt", "--output", "out", "--max-new-tokens", "2", "--min-new-tokens", "3"], "min_new_tokens"),
    ],
)
def test_wrong_commands(
    run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        Path(name).write_text("one\n")
    Path("list").write_text("# nothing\n")
    ended = run("generate", model_folder, "--quiet", *words)
    assert ended.code == 2 and message in ended.err and ended.err.count("\n") == 1, ended.err


def test_a_list_of_inputs_and_equal_names(
    run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("x", "y"):
        Path(folder).mkdir()
        Path(folder, "1.txt").write_text("one\n")
    Path("list").write_text("# two files\nx/1.txt\ny/*.txt\n")
    assert run("generate", model_folder, "--quiet", "--input", "@list", "--output", "out").code == 0
    assert sorted(str(path.relative_to("out")) for path in Path("out").glob("*/*.txt")) == ["x/1.txt", "y/1.txt"]


def test_urls(run, model_folder: Path, tmp_path: Path) -> None:
    """With credentials, which the manifest does not have."""
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for shard in range(2):
        rows = "".join(json.dumps({"source": text, "target": text}) + "\n" for text in texts(5, shard))
        system.pipe_file(f"/many/{shard}.jsonl", rows.encode())
        (tmp_path / f"{shard}.jsonl").write_text(rows)
    words = [model_folder, "--quiet", "--output"]
    ended = run("generate", *words, tmp_path / "urls", "--input", "memory://many/*.jsonl", "--processes", 2)
    assert (ended.code, ended.err) == (0, "")
    assert run("generate", *words, tmp_path / "paths", "--input", tmp_path / "*.jsonl").code == 0
    for shard in range(2):
        name = f"{shard}.jsonl"
        assert (tmp_path / "urls" / name).read_bytes() == (tmp_path / "paths" / name).read_bytes()
    metrics = ["--metrics", "chrf", "--json"]
    ended = run("evaluate", *words, tmp_path / "e", "--data", "memory://many/*.jsonl", *metrics, "--processes", 2)
    assert ended.code == 0 and json.loads(ended.out)["segments"] == 10, ended.err
    system.pipe_file("/many/0.jsonl", b'{"source": "one"}\n')
    ended = run("generate", *words, tmp_path / "urls", "--input", "memory://many/*.jsonl", "--processes", 2, "--resume")
    assert ended.code == 2 and "many/0.jsonl` had 245 bytes and has 18" in ended.err


def test_credentials_of_urls_are_not_kept() -> None:
    from antiphon.bulk.job import BulkJob, BulkShard

    shard = BulkShard(kind="lines", files=("https://me:word@host/a.txt?token=abc",), output="a.txt")
    job = BulkJob(task="generate", models=("m",), shards=(shard,))
    kept, passed = json.dumps(job.as_json()), json.dumps(job.as_json(secrets=True))
    assert "word" not in kept and "abc" not in kept and "me:word@host/a.txt?token=abc" in passed
    assert BulkJob.from_json(json.loads(passed)) == job


def test_the_end_by_a_signal_says_how_to_continue(
    run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    blocks: list[Any] = []

    def interrupted(display: Any, shard: int, block: Any) -> None:
        blocks.append(block)
        display.progress.add(shard, block)
        if len(blocks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("antiphon.bulk.progress.ProgressDisplay.block", interrupted)
    words = ["generate", model_folder, "--input", tmp_path / "?.txt", "--output", tmp_path / "out", "--block-rows", 1]
    ended = run(*words)
    assert ended.code == 130
    assert "antiphon: stopped, 0 of 1 shard and 2 rows are kept; `antiphon generate" in ended.err
    assert "--block-rows 1 --resume` continues" in ended.err
    ended = run(*words, "--resume")
    assert ended.code == 0 and "of a run before: 2 rows" in ended.err and "3 rows of 1 shard" in ended.err
    assert len(blocks) == 3
    alone = run("generate", model_folder, "--quiet", "--input", tmp_path / "a.txt")
    assert (tmp_path / "out" / "a.txt").read_text() == alone.out
