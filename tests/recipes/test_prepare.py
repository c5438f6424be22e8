"""The scripts of recipes/prepare: small sets, whose splits share nothing that must not be shared."""

from __future__ import annotations

import csv
import runpy
import sys
import unicodedata
import wave
from itertools import pairwise
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
    assert [len(each) for each in sets.values()] == [200, 10, 10]
    assert all((tmp_path / row["image"]).is_file() and row["prompt"].endswith("?") for row in sets["test"])
    script = runpy.run_path(str(SCRIPTS / "drawn_scenes.py"))
    valid, test = (script["held_out"](name) for name in ("valid", "test"))
    assert not valid & test and len(valid) == len(test) == len(script["SHAPES"]) == len(script["COLOURS"])
    assert all(len({pair[place] for pair in found}) == 10 for found in (valid, test) for place in (0, 1))
    for row in sets["train"]:
        words = [*row["prompt"].split(), *row["text"].split()]
        assert not set(pairwise(words)) & (valid | test)
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


def test_lines_like_those_of_manuscripts_are_new_texts_in_black_on_white(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("PIL")
    from PIL import Image

    from antiphon.data import find_fonts

    if not find_fonts("abcdefghilmnopqrstux"):
        pytest.skip("no font is installed here")
    table, folders = tmp_path / "train.tsv", [tmp_path / name for name in ("a", "b")]
    words = " ".join(f"{a}s{b} ꝓ{a} {b}ũ d*" for a in "aeiou" for b in "aeiou")
    table.write_text(f"image\tmanuscript\ttext\na.png\tA\t{words}\n", encoding="utf-8")
    for folder in folders:
        run("manuscript_lines.py", "--texts", table, "--output", folder, "--lines", 40, monkeypatch=monkeypatch)
    drawn = rows(folders[0] / "train" / "lines.tsv")
    assert len(drawn) == 40 and all(set(row["text"].lower()) <= set("aeiousdꝓũ* ") for row in drawn)
    assert len({row["text"] for row in drawn}) == 40 and len({row["font"] for row in drawn}) > 3
    assert {word for row in drawn for word in row["text"].split()} - set(words.split())
    for row in drawn:
        content = [(folder / "train" / row["image"]).read_bytes() for folder in folders]
        assert content[0] == content[1]
        with Image.open(folders[0] / "train" / row["image"]) as image:
            assert {colour for _, colour in image.getcolors() or []} == {0, 255} and image.height == 96
            assert 0.02 < 1 - (image.histogram()[255] / image.width / image.height) < 0.5


def test_transcriptions_of_manuscripts_have_one_convention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_folder: Path
) -> None:
    source = data_folder / "caroline-lines"
    run("manuscripts.py", "--data", source, "--output", tmp_path, monkeypatch=monkeypatch)
    assert (tmp_path / "dev.tsv").read_text() == (source / "dev.tsv").read_text()
    before, after = rows(source / "train.tsv"), rows(tmp_path / "train.tsv")
    assert len(after) == 328 and all((tmp_path / row["image"]).is_file() for row in after)
    texts = [row["text"] for row in after]
    assert not any(mark in unicodedata.normalize("NFD", text) for text in texts for mark in ("\u0303", " .", " ;", ":"))
    changed = [old["text"] != new["text"] for old, new in zip(before, after, strict=True)]
    assert 100 < sum(changed) < 328
    script = runpy.run_path(str(SCRIPTS / "manuscripts.py"))
    assert len(script["resolved_hands"](before)) == 10
    assert script["one_convention"]("cũ ē . a;b:") == "cū ē. a;b;"


def test_ampersands_stand_where_their_score_is_higher() -> None:
    class Reader:
        """Prefers the second of three."""

        def score(self, sources: list[str], targets: list[str]) -> list[float]:
            assert sources == ["a.png"] * 2
            return [float(target.endswith("& set") or target == "et s& set") for target in targets]

    with_ampersands = runpy.run_path(str(SCRIPTS / "manuscripts.py"))["with_ampersands"]
    assert with_ampersands(Reader(), Path("a.png"), "et set set") == "et s& set"
    assert with_ampersands(Reader(), Path("a.png"), "no") == "no"


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
