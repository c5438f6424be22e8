"""`generate` on .csv, .tsv and .jsonl: each row is asked with one column, and saved with all of them and the answer."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from antiphon.cli import tables

# Quotes, line ends of three kinds, separators and letters of several scripts, in the text that is asked and beside it.
ROWS = [
    ["1", "one two", 'she said "no", twice'],
    ["2", "three\nfour five", "line\r\nline\rline\nline"],
    ["3", "", "東京\u2028🙂 é"],
    ["4", "six, seven\tsix", ""],
    ["", "", ""],
    ["6", "one", " space "],
]


def as_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def read_csv(content: str | bytes) -> list[list[str]]:
    text = content.decode() if isinstance(content, bytes) else content
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.fixture
def answers(model_folder: Path):
    """The model's own answers to some texts, without the command line."""
    from antiphon.generation.load import load

    model = load(str(model_folder))
    return lambda texts: [answer.text for answer in model.generate(texts)]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_csv_keeps_every_column(run, model_folder: Path, tmp_path: Path, answers, ending: str) -> None:
    source, file = tmp_path / f"in{ending}", tmp_path / "out.csv"
    content = as_csv([["id", "text", "note, too"], *ROWS])
    source.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    ended = run("generate", model_folder, "--quiet", "--input", source, "--source-field", "text", "--output", file)
    assert (ended.code, ended.err) == (0, "")
    header, *rows = read_csv(file.read_bytes())
    assert header == ["id", "text", "note, too", "answer"]
    assert [row[:3] for row in rows] == ROWS
    assert [row[3] for row in rows] == answers([row[1] for row in ROWS])
    assert rows[2][3] == "" and rows[0][3] != ""


def test_standard_output_and_the_name_of_the_column(run, model_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(as_csv([["source", "id"], ["one", "a"]]))  # a column `source` is asked without a flag
    ended = run("generate", model_folder, "--quiet", "--input", source, "--target-field", "größe")
    assert ended.code == 0 and read_csv(ended.out)[0] == ["source", "id", "größe"] and len(read_csv(ended.out)) == 2


def test_tsv(run, model_folder: Path, tmp_path: Path, answers) -> None:
    source, file = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text('id\ttext\tnote\n1\tone two\t"a\n\n2\t\té\n', encoding="utf-8")
    words = ["generate", model_folder, "--quiet", "--input", source]
    assert run(*words, "--source-field", "text", "--output", file).code == 0
    one = answers(["one two"])[0].replace("\n", " ").replace("\t", " ")
    assert file.read_text(encoding="utf-8") == f'id\ttext\tnote\tanswer\n1\tone two\t"a\t{one}\n2\t\té\t\n'
    source.write_text("1\tone two\t\n2\tthree\n", encoding="utf-8")  # without a header; the empty cell does not count
    ended = run(*words, "--source-field", 1)
    assert ended.code == 0 and [line.split("\t")[:2] for line in ended.lines] == [["1", "one two"], ["2", "three"]]
    assert len(ended.lines[0].split("\t")) == len(ended.lines[1].split("\t"))
    ended = run(*words, "--source-field", 1, "--target-field", "answer")
    assert ended.code == 2 and "is read without one" in ended.err
    ended = run(*words, "--source-field", "{0} {1}", "--json")
    assert ended.code == 0 and json.loads(ended.lines[0])["1"] == "one two"
    source.write_text("text\none\n\ntwo\n")  # of one column: an empty line is an empty cell
    assert [line.split("\t")[0] for line in run(*words, "--source-field", "text").lines] == ["text", "one", "", "two"]


def test_jsonl_keeps_what_stands_beside(run, model_folder: Path, tmp_path: Path, answers) -> None:
    source, file = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [
        '{"text": "one\\ntwo", "meta": {"id": 12345678901234567890123, "tags": ["a", {"b": null}]}, "x": 1.10e400}',
        "",
        '  {"text":"","name":"\\ud83d\\ude42 é","target":{"a":1}} ',
        '{"text": ["one", "two"], "lone": "\\ud800"}',
    ]
    source.write_text("\n".join(lines), encoding="utf-8")
    words = ["generate", model_folder, "--quiet", "--input", source, "--source-field", "text", "--output", file]
    assert run(*words).code == 0
    found = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    expected = answers(["one\ntwo", "", "one two"])
    for line, given, answer in zip(found, [lines[0], lines[2], lines[3]], expected, strict=True):
        assert line.startswith(given.rstrip()[:-1]) and json.loads(line)["answer"] == answer
        assert list(json.loads(line)) == [*json.loads(given), "answer"]
    assert run(*words, "--json", "--n-best", 2).code == 0
    row = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    assert row["answer"] == expected[0] and row["score"] < 0 and 0 < row["confidence"] <= 1
    assert row["meta"]["id"] == 12345678901234567890123 and len(row["alternatives"]) == 1


def test_nested_keys_and_templates(run, model_folder: Path, tmp_path: Path, answers) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"translation": {"en": "one two"}, "a": "three", "b": 4}\n')
    for field, text in [("translation.en", "one two"), ("{a} {b}", "three 4")]:
        ended = run("generate", model_folder, "--quiet", "--input", source, "--source-field", field)
        assert json.loads(ended.lines[0])["answer"] == answers([text])[0]
    table = tmp_path / "in.tsv"
    table.write_text("a\tb\nthree\t4\n")
    ended = run("generate", model_folder, "--quiet", "--input", table, "--source-field", "{a} {b}")
    assert ended.lines[1] == f"three\t4\t{answers(['three 4'])[0]}"


def test_the_name_of_the_output_says_the_format(run, model_folder: Path, tmp_path: Path) -> None:
    table, objects = tmp_path / "in.csv", tmp_path / "in.jsonl"
    table.write_bytes(as_csv([["id", "text"], ["1", "one\ntwo"]]))
    objects.write_text('{"id": 1, "text": "one", "more": {"é": [1]}, "no": null}\n{"text": "two", "id": true}\n')
    words = ["generate", model_folder, "--quiet", "--source-field", "text"]
    assert run(*words, "--input", table, "--output", tmp_path / "a.jsonl").code == 0
    assert list(json.loads((tmp_path / "a.jsonl").read_text()).items())[:2] == [("id", "1"), ("text", "one\ntwo")]
    assert run(*words, "--input", objects, "--output", tmp_path / "a.csv").code == 0
    rows = read_csv((tmp_path / "a.csv").read_bytes())
    assert rows[0] == ["id", "text", "more", "no", "answer"]
    assert [row[:4] for row in rows[1:]] == [["1", "one", '{"é": [1]}', ""], ["true", "two", "", ""]]
    ended = run(*words, "--input", table, "--output", tmp_path / "a.tsv")
    assert ended.code == 2 and f"that of `text` does ({table}:3)" in ended.err and ended.err.count("\n") == 1
    objects.write_text('{"text": "one"}\n{"text": "two", "b": 1}\n')
    ended = run(*words, "--input", objects, "--output", tmp_path / "b.csv")
    assert ended.code == 2 and f"one has `b` ({objects}:2)" in ended.err
    assert len(read_csv((tmp_path / "b.csv").read_bytes())) == 2  # the row before it is answered
    for name in ["a.csv.gz", "a.parquet"]:
        ended = run(*words, "--input", table, "--output", tmp_path / name)
        assert ended.code == 2 and "must end in .csv, .tsv, .jsonl" in ended.err and not (tmp_path / name).exists()


CSV = "id,text\n1,one\n"
REFUSED = [
    ("in.csv", CSV, ["--source-field", "txet"], "must have the column `txet`, but has `id`, `text`"),
    ("in.jsonl", '{"id": 1}\n', ["--source-field", "text"], "`text` must be a text or a list of texts, but is not am"),
    ("in.jsonl", '{"text": null}\n', ["--source-field", "text"], "but is null (IN:1)"),
    ("in.csv", CSV, ["--source-field", "text", "--target-field", "id"], "must not have the column `id` yet"),
    ("in.jsonl", '{"text": "a", "answer": 1}\n', ["--source-field", "text"], "must not have the column `answer` yet"),
    ("in.jsonl", '{"text": "a", "score": 1}\n', ["--source-field", "text", "--json"], "have the column `score` yet"),
    ("in.csv", CSV, ["--source-field", "text", "--json", "--target-field", "score"], "no key that --json adds"),
    ("in.csv", CSV, ["--source-field", "text", "--stream"], "`--stream` shows lines"),
    ("in.csv", CSV, ["--source-field", "text", "--n-best", 2], "has one answer, but n_best is 2"),
    ("in.csv", CSV, ["--source-field", "text", "--json", "--output", "x.csv"], "`--json` needs an `--output`"),
    ("in.csv", CSV, ["--target-field", "a"], "`--target-field` needs --source-field"),
    ("in.csv", "a,a\n1,2\n", ["--source-field", "a", "--json"], "must have different names in .jsonl"),
    ("in.csv", "id;text\n1;one\n", ["--source-field", "text"], "must be separated by commas"),
    ("in.csv", CSV, ["--source-field", 7], "the column 7"),
    ("in.txt", "one\n", ["--source-field", "text"], "`--source-field` needs a table"),
    ("in.txt", "one\n", ["--target-field", "text"], "`--target-field` needs a table"),
    ("in.txt", "one\n", ["--bad-rows", "skip"], "`--bad-rows` needs a table"),
]


@pytest.mark.parametrize(("name", "content", "flags", "message"), REFUSED)
def test_refusals(
    run, model_folder: Path, tmp_path: Path, name: str, content: str, flags: list[object], message: str
) -> None:
    source, file = tmp_path / name, tmp_path / "out"
    source.write_text(content)
    file.write_text("kept")
    output = [] if "--output" in flags else ["--output", file]
    ended = run("generate", model_folder, "--quiet", "--input", source, *flags, *output)
    assert ended.code == 2 and ended.out == "" and ended.err.count("\n") == 1
    assert message.replace("IN", str(source)) in ended.err
    assert file.read_text() == "kept"


@pytest.mark.parametrize("flags", [[], ["--source-field", "text"]])
def test_a_missing_file_is_called_missing(run, model_folder: Path, tmp_path: Path, flags: list[str]) -> None:
    ended = run("generate", model_folder, "--input", tmp_path / "none.csv", *flags)
    assert ended.code == 2 and ended.err.count("\n") == 1 and "none.csv` cannot be read (No such file" in ended.err


def test_standard_input_is_no_table(run, model_folder: Path) -> None:
    ended = run("generate", model_folder, "--quiet", "--source-field", "text", input="text\none\n")
    assert ended.code == 2 and "but it is standard input" in ended.err and ended.err.count("\n") == 1


def test_bad_rows_are_an_error_behind_what_is_answered(run, model_folder: Path, tmp_path: Path) -> None:
    source, file = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(b"id,text\n1,one\n2\n3,\xff\n4,four\n5,five,5\n")
    words = ["generate", model_folder, "--quiet", "--input", source, "--source-field", "text", "--output", file]
    ended = run(*words)
    assert ended.code == 2 and ended.err.count("\n") == 1 and f"but has 1 ({source}:3)" in ended.err
    assert f"({source}:4)" in ended.err and f"({source}:6)" in ended.err and "`--bad-rows skip`" in ended.err
    assert [row[0] for row in read_csv(file.read_bytes())] == ["id", "1"]
    ended = run(*words, "--bad-rows", "skip")
    assert ended.code == 0 and ended.err.count("a bad row is left out") == 3
    assert [row[0] for row in read_csv(file.read_bytes())] == ["id", "1", "4"]


def test_a_text_that_is_too_long_is_placed(
    run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_LINES", 2)
    source, file = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(as_csv([["text", "id"], ["one\ntwo", "1"], ["two", "2"], ["", "3"], ["seven " * 90, "4"]]))
    words = ["generate", model_folder, "--quiet", "--input", source, "--source-field", "text", "--output", file]
    ended = run(*words)
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert "input 4 must have at most" in ended.err and f"Input 4 is the row at {source}:6." in ended.err
    assert [row[1] for row in read_csv(file.read_bytes())] == ["id", "1", "2"]
    assert run(*words, "--resume", "--overflow", "truncate").code == 0
    assert [row[1] for row in read_csv(file.read_bytes())] == ["id", "1", "2", "3", "4"]


def test_without_a_column_the_lines_are_asked(run, model_folder: Path, tmp_path: Path, answers) -> None:
    for name, content in [("in.csv", "id,text\n1,one\n"), ("in.jsonl", "no json\n"), ("in.tsv", "one\ttwo\n")]:
        source = tmp_path / name
        source.write_text(content)
        ended = run("generate", model_folder, "--input", source)
        assert ended.code == 0 and ended.lines == [a.replace("\n", " ") for a in answers(content.splitlines())]
        assert "is read line by line; --source-field NAME asks a column" in ended.err


def test_tables_without_rows(run, model_folder: Path, tmp_path: Path) -> None:
    for name, content, expected in [("a.csv", "text\n", "text,answer\n"), ("a.csv", "", ""), ("a.jsonl", "", "")]:
        (tmp_path / name).write_text(content)
        ended = run("generate", model_folder, "--quiet", "--input", tmp_path / name, "--source-field", "text")
        assert (ended.code, ended.out) == (0, expected), ended.err


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_resume_goes_on_behind_whole_rows(
    run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(tables, "MOST_LINES", 2)
    source, file = tmp_path / "in.csv", tmp_path / f"out{kind}"
    source.write_bytes(as_csv([["id", "text", "note\nof two lines"], *ROWS]))
    words = ["generate", model_folder, "--quiet", "--input", source, "--source-field", "text", "--output", file]
    assert run(*words).code == 0
    whole = file.read_bytes()
    ends = [place for place, byte in enumerate(whole, 1) if byte == 10]
    for end in [0, 5, *ends, *(place - 1 for place in ends)]:
        file.write_bytes(whole[:end])
        ended = run(*words, "--resume")
        assert ended.code == 0, ended.err
        assert file.read_bytes() == whole, end
    file.write_bytes(whole + whole.splitlines(keepends=True)[-1])
    ended = run(*words, "--resume")
    assert ended.code == 2 and "no more than the 6 rows of the input, but holds 7" in ended.err


def test_resume_refuses_another_header(run, model_folder: Path, tmp_path: Path) -> None:
    source, file = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,text\n1,one\n")
    file.write_text("id,text,reply\n1,one,x\n")
    words = ["generate", model_folder, "--quiet", "--input", source, "--source-field", "text", "--output", file]
    ended = run(*words, "--resume")
    assert ended.code == 2 and "must begin with the header `id,text,answer`" in ended.err
    assert file.read_text() == "id,text,reply\n1,one,x\n"
