"""`generate --resume`: a run that was stopped goes on to what the uninterrupted one gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from antiphon.cli import streams

TEXTS = ["one two", "three", "", "four five six seven", "one", "eight seven", "two two two", "five"]


def comparable(content: bytes) -> object:
    """Without the last digits of scores, which depend on the rows that ran beside."""
    if not content.startswith(b"{"):
        return content
    return re.sub(rb"(0\.\d{4}|\d\.\d{3})\d*", rb"\1", content)


@pytest.mark.parametrize("flags", [[], ["--n-best", 2], ["--json"], ["--stream"], ["--temperature", 1.5, "--seed", 3]])
def test_goes_on_where_it_was_cut_off(
    run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[object]
) -> None:
    monkeypatch.setattr(streams, "MOST_LINES", 3)
    source, file = tmp_path / "in", tmp_path / "out"
    source.write_text("\n".join(TEXTS) + "\n")
    words = ["generate", model_folder, "--quiet", *flags, "--input", source, "--output", file]
    assert run(*words).code == 0
    whole = file.read_bytes()
    ends = [0, *(match.end() for match in re.finditer(b"\n", whole))]
    for end in [0, 1, ends[1], ends[3] + 2, ends[4], ends[-2], len(whole) - 1, len(whole)]:
        file.write_bytes(whole[:end])
        ended = run(*words, "--resume")
        assert ended.code == 0, ended.err
        assert comparable(file.read_bytes()) == comparable(whole)
    file.unlink()
    assert run(*words, "--resume").code == 0 and file.exists()
    assert comparable(file.read_bytes()) == comparable(whole)


def test_what_is_kept_is_not_computed_again(run, model_folder: Path, tmp_path: Path) -> None:
    source, file = tmp_path / "in", tmp_path / "out"
    source.write_text("one\ntwo\nthree\n")
    file.write_text("kept\nkept too\nhalf of one")
    assert run("generate", model_folder, "--input", source, "--output", file, "--resume").code == 0
    assert file.read_text().splitlines()[:2] == ["kept", "kept too"] and len(file.read_text().splitlines()) == 3


def test_refusals(run, model_folder: Path, tmp_path: Path) -> None:
    source, file = tmp_path / "in", tmp_path / "out"
    source.write_text("one\n")
    file.write_text("a\nb\nc\n")
    ended = run("generate", model_folder, "--quiet", "--input", source, "--output", file, "--resume")
    assert ended.code == 2 and "no more than the 1 lines of the input, but holds 3" in ended.err
    assert ended.err.count("\n") == 1 and file.read_text() == "a\nb\nc\n"
    ended = run("generate", model_folder, "--quiet", "--resume", input="one\n")
    assert ended.code == 2 and "`--resume` needs the file" in ended.err
