"""What is given as a recipe, a model or a text and is none: one line that says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import antiphon
from antiphon.data.lines import LineReader
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.recipe import read_recipe


@pytest.mark.parametrize(
    ("file", "remedy"),
    [
        ("config.json", "It holds a model: to train it further, write a recipe with `model: {base: "),
        ("config.yaml", "The recipe of that run is `"),
        ("README", "Give a file, for example"),
    ],
)
def test_a_folder_is_no_recipe(tmp_path: Path, file: str, remedy: str) -> None:
    (tmp_path / file).write_text("{}")
    with pytest.raises(ConfigError) as found:
        antiphon.train(tmp_path)
    assert str(found.value).startswith(f"a recipe must be a YAML file, but `{tmp_path}` is a folder. {remedy}")


@pytest.mark.parametrize("text", ["in 3 hours\nin 2 days\n", "one\ttwo\n", "12:30 left\nhttp://a.b\n", "- a\n"])
def test_a_text_is_no_recipe(tmp_path: Path, text: str) -> None:
    file = tmp_path / "en.txt"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"mapping with `data`.*has no line such as `data: …`.*source: en.txt"):
        read_recipe(file)


@pytest.mark.parametrize("text", ["data: {\n", "{data: 1, data: 2}\n", "'data': x\n", "? a\n: [\ndata: b"])
def test_yaml_that_is_broken_is_still_answered_by_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"recipe.yaml:\d"):
        read_recipe(file)


def test_a_hub_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("[Errno -3] An error happened while trying to locate the file on the Hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(ModelError) as found:
        antiphon.load("runs/none")
    assert str(found.value) == (
        "there is no folder `runs/none` here, and the hub could not be asked for a model of that name. "
        "Check the path, or the network."
    )


@pytest.mark.parametrize(("kind", "name"), [("utf-16", "utf-16"), ("utf-16-be", "utf-16"), ("latin1", "latin1")])
def test_utf_16_is_named(tmp_path: Path, kind: str, name: str) -> None:
    file = tmp_path / "a.txt"
    text = ("\ufeff" if kind == "utf-16-be" else "") + "für dich\n"
    file.write_bytes(text.encode(kind))
    with pytest.raises(DataError, match=f"iconv -f {name} -t utf-8"):
        list(LineReader(str(file)))
    with pytest.raises(ConfigError, match=f"iconv -f {name} -t utf-8"):
        read_recipe(file)
