"""The words none, null and ~ are texts where a flag takes a text, and unset a number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.conftest import Run

import antiphon
from antiphon.cli.flags import parse
from antiphon.cli.main import command_class
from antiphon.recipe import read_recipe

WORDS = ["none", "null", "Null", "NULL", "~", "no", "true", "1e3", "2026", "[in]", "nan"]


@pytest.mark.parametrize("word", WORDS)
def test_every_text_flag_takes_any_word(word: str) -> None:
    # F12: none, null and ~ were dropped.
    texts = ["prefix", "source_language", "target_language"]
    lists = ["required", "forbidden", "allowed"]
    given = [part for name in texts + lists for part in (f"--{name.replace('_', '-')}", word)]
    search = parse(command_class("generate"), ["model", *given], prog="antiphon generate").search  # type: ignore[attr-defined]
    assert {name: search[name] for name in texts} == dict.fromkeys(texts, word)
    assert {name: search[name] for name in lists} == dict.fromkeys(lists, (word,))


@pytest.mark.parametrize("word", ["none", "null", "~", "3"])
def test_fields_of_a_table_too(word: str) -> None:
    words = ["model", "--data", "x.tsv", "--source-field", word, "--target-field", word]
    command = parse(command_class("evaluate"), words, prog="antiphon evaluate")
    assert (command.source_field, command.target_field) == ((3, 3) if word == "3" else (word, word))  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", ["none", "null", "~"])
def test_numbers_are_unset_by_it(word: str) -> None:
    words = ["m", "--max-new-tokens", word, "--top-p", word, "--patience", word, "--batch-size", word]
    search = parse(command_class("generate"), words, prog="antiphon generate").search  # type: ignore[attr-defined]
    assert search == dict.fromkeys(["max_new_tokens", "top_p", "patience", "batch_size"])


def test_an_empty_text_is_none() -> None:
    command = parse(command_class("generate"), ["m", "--prefix", ""], prog="antiphon generate")
    assert command.search == {"prefix": None}  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", ["none", "null", "~"])
def test_settings_of_a_recipe_too(word: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: {train: {path: x.tsv}}\ntraining: {max_steps: 3, max_epochs: 2}\n")
    flags = {"generation.prefix": word, "training.max_epochs": word, "generation.top_k": word}
    config = read_recipe(tmp_path / "r.yaml", flags)
    assert config.generation.prefix == word
    assert config.training.max_epochs is None and config.generation.top_k is None


@pytest.mark.parametrize("word", ["none", "null"])
def test_an_answer_begins_with_the_word(word: str, model_folder: Path, run: Run) -> None:
    ended = run("generate", model_folder, "--prefix", word, "--quiet", "--max-new-tokens", "12", input="one two\n")
    asked = {"prefix": word, "max_new_tokens": 12}
    assert ended.lines == [antiphon.load(model_folder).generate("one two", **asked)[0].text]
    assert ended.lines[0].startswith(word)


def test_columns_of_that_name_are_found(model_folder: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("none\tnull\none two\tthree four\n")
    words = ["--data", tmp_path / "x.tsv", "--source-field", "none", "--target-field", "null", "--json", "--quiet"]
    ended = run("evaluate", model_folder, *words, "--metrics", "chrf")
    wanted = antiphon.evaluate(antiphon.load(model_folder), [("one two", "three four")], ["chrf"])["chrf"].score
    assert json.loads(ended.out)["metrics"]["chrf"]["score"] == pytest.approx(wanted)


def test_the_help_says_which_flags_take_none(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(command_class("generate"), ["--help"], prog="antiphon generate")
    said = capsys.readouterr().out
    assert "--max-new-tokens N|none" in said and "--temperature X|none" in said
    assert "--prefix TEXT" in said and "TEXT|none" not in said
