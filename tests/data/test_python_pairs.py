"""Pairs from Python as mappings are pairs, also where a text looks like the name of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.config import DataConfig, is_files
from antiphon.data.sources import check_files, records
from antiphon.errors import DataError
from antiphon.text import load_task

TASK = load_task("translation")
PLAIN = {"source": "in 3 hours", "target": "in 3 Stunden"}


def pair(source: str, target: str) -> dict[str, str]:
    return {"source": source, "target": target}


@pytest.mark.parametrize(
    "odd",
    [
        pair("I like Node.js", "Ich mag Node.js"),
        pair("See example.com", "Siehe example.com"),
        pair("e.g", "z.B"),
        pair("Ph.D", "Dr.phil"),
        pair("Good.Bye", "Tschüss"),
        pair("/dev/null", "/dev/null"),
        pair("folder", "folder"),
        pair("and/or", "und/oder"),
        pair("notes.txt", "notes.txt"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 1500])
def test_one_text_that_is_no_file_makes_all_of_them_pairs(
    odd: dict[str, str], place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # F17: one text that looked like a file made all of them names of files, but only among the first 1,000.
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("a\n")
    monkeypatch.chdir(tmp_path)
    rows = [PLAIN] * place + [odd] + [PLAIN]
    data = DataConfig(rows).train
    assert not is_files(data)
    assert [(one, other) for one, other, _ in records(data, TASK)] == [(row["source"], row["target"]) for row in rows]


def test_single_words_are_texts_where_one_pair_has_none_that_looks_like_a_file() -> None:
    assert not is_files(DataConfig([pair("Ph.D", "p"), pair("dog", "Hund")]).train)
    assert not is_files(DataConfig([pair("dog", "Hund"), pair("Ph.D", "p")]).train)


def test_a_text_beside_a_folder_is_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not is_files(DataConfig([pair("a", "a")]).train)


@pytest.mark.parametrize(
    "rows",
    [
        [pair("train.en", "train.de")],
        [pair("train.en", "train.de"), pair("/data/x", "~/y.txt.gz")],
        [pair("there", "there")],
    ],
)
def test_names_of_files_are_files(rows: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").write_text("a\n")
    monkeypatch.chdir(tmp_path)
    assert is_files(DataConfig(rows).train)


def test_texts_that_all_look_like_files_are_said_to_have_been_taken_for_such() -> None:
    for odd in (pair("I like Node.js", "Ich mag Node.js"), pair("Good.Bye", "Tschüss")):
        data = DataConfig([odd]).train
        for read in (check_files, lambda data: list(records(data, TASK))):
            with pytest.raises(DataError, match=r"the data files `.*` and .* if they are texts, give pairs"):
                read(data)
