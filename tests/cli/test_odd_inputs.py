"""Odd texts and bytes from the data folder through the command line: a line for each line, or one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torture.figures import FigureRecorder

pytestmark = pytest.mark.data


def rows(data_folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (data_folder / "odd-inputs" / name).read_text(encoding="utf-8").splitlines()]


def test_bytes_are_lines_or_an_error_with_its_line(run, model_folder: Path, data_folder: Path) -> None:
    for row in rows(data_folder, "odd_bytes.jsonl"):
        ended = run("tokenizer", "encode", model_folder, input=b"fine\n" + bytes.fromhex(row["hex"]))
        assert ended.code == (0 if row["valid_utf8"] else 2), row
        assert ended.lines[0] == run("tokenizer", "encode", model_folder, input="fine\n").lines[0]
        if not row["valid_utf8"]:
            assert "standard input:" in ended.err and ended.err.count("\n") == 1, row


def test_every_odd_line_has_its_answer(run, model_folder: Path, data_folder: Path, figures: FigureRecorder) -> None:
    texts = [row["text"] for row in rows(data_folder, "odd_lines.jsonl")]
    texts += json.loads((data_folder / "odd-inputs" / "blns" / "blns.json").read_text(encoding="utf-8"))
    lines = [text.encode("utf-8", "replace") for text in texts if "\n" not in text]
    flags = ["--overflow", "truncate", "--max-new-tokens", "2", "--beam-size", "1", "--quiet"]
    ended = run("generate", model_folder, *flags, input=b"\n".join(lines) + b"\n")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("\n") == len(lines)
    figures.add("odd and naughty lines through the command line", len(lines))
    kept = run("generate", model_folder, *flags, "--json", input=b"\n".join(lines) + b"\n")
    assert [json.loads(line)["text"].replace("\n", " ") for line in kept.lines] == ended.lines
