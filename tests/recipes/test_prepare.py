"""The scripts of recipes/prepare: small sets, whose splits share nothing that must not be shared."""

from __future__ import annotations

import csv
import runpy
import sys
import wave
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "recipes" / "prepare"


def run(script: str, *words: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_scenes_of_validation_and_test_have_new_combinations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    run("drawn_scenes.py", "--output", tmp_path, "--scenes", 200, monkeypatch=monkeypatch)
    sets = {name: rows(tmp_path / f"{name}.tsv") for name in ("train", "valid", "test")}
    assert [len(each) for each in sets.values()] == [200, 20, 20]
    assert all((tmp_path / row["image"]).is_file() and row["prompt"].endswith("?") for row in sets["test"])
    held_out = runpy.run_path(str(SCRIPTS / "drawn_scenes.py"))["HELD_OUT"]
    assert not held_out["valid"] & held_out["test"]
    for row in sets["train"]:
        named = set(zip(row["text"].split(), row["text"].split()[1:], strict=False))
        assert not named & (held_out["valid"] | held_out["test"])
    assert len({row["text"] for row in sets["train"]}) > 10


def test_printed_lines_of_training_and_test_share_no_font_and_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("PIL")
    from antiphon.data import find_fonts

    if len(find_fonts("abc")) < 8:
        pytest.skip("fewer than 8 fonts are installed here")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"{number} boys in town {number * 7}" for number in range(80)))
    run("printed_lines.py", "--texts", texts, "--output", tmp_path, "--lines", 60, monkeypatch=monkeypatch)
    train, valid, test = (rows(tmp_path / name / "lines.tsv") for name in ("train", "valid", "test"))
    assert [len(each) for each in (train, valid, test)] == [60, 3, 3]
    assert not {row["font"] for row in train + valid} & {row["font"] for row in test}
    lines = [row["text"] for row in train + valid + test]
    assert len(set(lines)) == len(lines) and max(map(len, lines)) <= 48


def test_strings_of_digits_are_their_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_folder: Path) -> None:
    words = ("--data", data_folder / "fsdd", "--output", tmp_path, "--strings", 16, "--leave-out", "theo")
    run("spoken_digits.py", *words, monkeypatch=monkeypatch)
    sets = {name: rows(tmp_path / f"{name}.tsv") for name in ("train", "valid", "test")}
    assert {name: len(each) for name, each in sets.items()} == {"train": 1600, "valid": 200, "test": 500}
    assert {row["speaker"] for row in sets["test"]} == {"theo"}
    assert "theo" not in {row["speaker"] for name in ("train", "valid") for row in sets[name]}
    assert not {row["audio"] for row in sets["train"]} & {row["audio"] for row in sets["valid"]}
    for row in rows(tmp_path / "train-strings.tsv"):
        digits = row["text"].split()
        with wave.open(str(tmp_path / row["audio"])) as sound:
            seconds = sound.getnframes() / sound.getframerate()
        assert 2 <= len(digits) <= 7 and 0.14 * len(digits) <= seconds <= 2.6 * len(digits)
