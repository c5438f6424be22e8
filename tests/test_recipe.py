"""Recipes: what YAML means, where files lie, overrides, the way there and back, and each message about a mistake."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.config import AttentionConfig, DataConfig, ModelConfig, SourceConfig, TrainConfig, TrainingConfig
from antiphon.errors import ConfigError
from antiphon.recipe import dump_yaml, from_mapping, meaning, read_recipe, read_yaml, to_mapping
from antiphon.utf8 import convert_hint

RECIPE = """\
task: translation
data:
  train: {source: train.en.gz, target: train.de.gz}
  valid: [{path: val.tsv, source_field: 0, target_field: de}]
tokenizer: {kind: bpe, vocab_size: 8000, shared: true}
model: {preset: tiny, dropout: 0.2}
attention: {encoder: full, decoder: {window: 128}, cross: full}
training:
  batch_tokens: 4096
  max_steps: 8e3
  lr: 2e-3
  precision: bf16
validation: {every_steps: 500, metrics: [{bleu: {tokenize: none}}, chrf], beam_size: 4, keep_best: bleu}
output: runs/multi30k
"""
MINIMAL: dict[str, object] = {"data": {"train": [("a", "A")]}, "training": {"max_steps": 1}}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def changed(path: Path, old: str, new: str) -> Path:
    assert old in RECIPE
    path.write_text(RECIPE.replace(old, new))
    return path


def problem(path: Path | dict, overrides: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        from_mapping(path) if isinstance(path, dict) else read_recipe(path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_recipe_of_the_interface(recipe: Path, tmp_path: Path) -> None:
    config = read_recipe(recipe)
    assert config.data.train == SourceConfig(source=f"{tmp_path}/train.en.gz", target=f"{tmp_path}/train.de.gz")
    assert config.data.valid == (SourceConfig(path=f"{tmp_path}/val.tsv", source_field=0, target_field="de"),)
    assert config.model == ModelConfig(preset="tiny", dropout=0.2) and config.model.d_model == 128
    assert config.training == TrainingConfig(batch_tokens=4096, max_steps=8000, lr=2e-3, precision="bfloat16")
    assert config.attention == AttentionConfig(decoder={"window": 128})
    assert config.validation.metrics == ({"bleu": {"tokenize": "none"}}, "chrf")
    assert config.output == "runs/multi30k"  # of the current folder
    assert config.folder == str(tmp_path)


# YAML 1.2, core schema (section 10.3.2 of the specification)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("Off", "Off"), ("true", True), ("False", False), ("TRUE", True),
        ("tRUE", "tRUE"), ("null", None), ("~", None), ("", None), ("Null", None), ("none", "none"), ("2e-4", 2e-4),
        ("1e3", 1000.0), ("1.", 1.0),
        (".5", 0.5), ("-.5e-1", -0.05), ("+12", 12), ("010", 10), ("0o17", 15), ("0x1F", 31),
        ("-0x1F", "-0x1F"), ("1_000", "1_000"),
        ("1:30", "1:30"), ("12:30:45", "12:30:45"), ("2026-11-22", "2026-11-22"),
        (".inf", math.inf), ("-.INF", -math.inf), ("=", "="), ("<<", "<<"), ("1e", "1e"), (".", "."), ("0b1", "0b1"),
        ("'1'", "1"), ('"no"', "no"), ('"null"', "null"), ("!", "!"),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: object) -> None:
    found = read_yaml(f"x: {text}" if text != "!" else "x: '!'", "here")[0]["x"]
    assert found == value and type(found) is type(value)
    if text[:1] not in ("'", '"'):
        assert meaning(text) == value


def test_not_a_number_and_blocks() -> None:
    assert math.isnan(meaning(".nan"))
    assert read_yaml("x: |\n  5\ny: >-\n  no\nz: &a [1]\nw: *a\n", "here")[0] == {
        "x": "5\n",
        "y": "no",
        "z": [1],
        "w": [1],
    }


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
WORDS = st.sampled_from(
    ["no", "2e-4", "1e3", "0o17", "1:30", "null", "~", "", "010", "true", "1_0", ".5", "a: b", "#", "'", " "]
)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), VALUES, max_size=4))
def test_what_is_dumped_is_read_back(mapping: dict[str, object]) -> None:
    found, _ = read_yaml(dump_yaml(mapping), "here")

    def same(one: object, other: object) -> bool:
        if isinstance(one, dict) and isinstance(other, dict):
            return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(same, one, other))
        return type(one) is type(other) and one == other

    assert same(found, mapping)


def test_variables_come_from_the_environment(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TEST_FOLDER", "/elsewhere")
    monkeypatch.setenv("ANTIPHON_TEST_STEPS", "77")
    text = RECIPE.replace("train.en.gz", '"${ANTIPHON_TEST_FOLDER}/a.gz"').replace("8e3", "${ANTIPHON_TEST_STEPS}")
    recipe.write_text(text)
    config = read_recipe(recipe)
    assert isinstance(config.data.train, SourceConfig) and config.data.train.source == "/elsewhere/a.gz"
    assert config.training.max_steps == 77


# there and back


def test_the_resolved_recipe_is_read_back_to_the_same(recipe: Path, tmp_path: Path) -> None:
    config = read_recipe(recipe)
    mapping = to_mapping(config)
    assert from_mapping(mapping, folder="/elsewhere") == config
    (tmp_path / "config.yaml").write_text(dump_yaml(mapping))
    assert read_recipe(tmp_path / "config.yaml") == config
    assert to_mapping(from_mapping(mapping)) == mapping
    assert set(mapping["model"]) == set(vars(config.model)) and mapping["model"]["d_model"] == 128


@pytest.mark.parametrize("preset", ["tiny", "small", "student", "base", "big"])
def test_every_preset_there_and_back(preset: str) -> None:
    config = from_mapping({**MINIMAL, "data": {"train": {"path": "x.tsv"}}, "model": {"preset": preset, "bias": False}})
    assert from_mapping(to_mapping(config)) == config


def test_pairs_from_python_leave_their_number_and_hash() -> None:
    def shown(train: object) -> str:
        return to_mapping(TrainConfig(data=DataConfig(train=train), training=TrainingConfig(max_steps=1)))["data"][
            "train"
        ]

    assert shown([("a", "A"), ("b", "B")]).startswith("<python: 2 pairs, sha256 ")
    assert shown([("a", "A"), ("b", "B")]) == shown([("a", "A"), ("b", "B")]) != shown([("a", "A"), ("b", "C")])
    assert shown(iter([("a", "A"), ("b", "B")])) == shown((("a", "A"), ("b", "B")))
    mapping = to_mapping(from_mapping(MINIMAL))
    assert "`data.train` must be files or pairs, but is the text `<python: 1 pairs" in problem(mapping)


def test_an_attention_that_is_an_object_leaves_its_spec() -> None:
    class Rule:
        def __init__(self) -> None:
            self.spec = {"window": 8}

    class Nameless:
        pass

    config = from_mapping(
        {**MINIMAL, "attention": {"encoder": Rule(), "decoder": [Rule(), "full"], "cross": Nameless()}}
    )
    assert to_mapping(config)["attention"] == {
        "encoder": {"window": 8}, "decoder": [{"window": 8}, "full"], "cross": "<python: Nameless>",
        "backend": "auto",
    }  # fmt: skip


def test_files_are_relative_to_the_recipe_not_to_the_current_folder(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert read_recipe(Path("..") / "recipe.yaml") == read_recipe(recipe)
    config = from_mapping({**MINIMAL, "data": {"train": {"path": "x.tsv"}}})
    assert config.data.train == SourceConfig(path=str(inner / "x.tsv"))
    home = from_mapping({**MINIMAL, "data": {"train": {"path": "~/x.tsv"}}}).data.train
    assert home == SourceConfig(path=os.path.expanduser("~/x.tsv"))


def test_a_tokenizer_may_be_a_path(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    changed(recipe, "kind: bpe", "kind: mine.json")
    assert read_recipe(recipe).tokenizer.kind == f"{tmp_path}/mine.json"
    text = problem(changed(recipe, "kind: bpe", "kind: bpee"))
    assert f"there is no `{tmp_path}/bpee` ({recipe}:5), did you mean `bpe`?" in text


# overrides


def test_overrides_are_laid_over(recipe: Path) -> None:
    config = read_recipe(
        recipe,
        {
            "training.lr": "3e-4",
            "model.d-model": "64",
            "attention.decoder": "{window: 8}",
            "attention.encoder": "[full, {window: 4}]",
            "validation.metrics": "bleu,ter",
            "output": "2026",
            "training.max_steps": "null",
            "training.max_minutes": "5",
            "generation.prefix": "Note: {this",
            "data.train": "{path: other.tsv}",
            "model.bias": "true",
        },
    )
    assert (config.training.lr, config.model.d_model, config.output) == (3e-4, 64, "2026")
    assert config.attention == AttentionConfig(decoder={"window": 8}, encoder=["full", {"window": 4}])
    assert config.validation.metrics == ("bleu", "ter")
    assert (config.training.max_steps, config.training.max_minutes, config.model.bias) == (None, 5.0, True)
    assert config.generation.prefix == "Note: {this"
    assert config.data.train == SourceConfig(path=str(recipe.parent / "other.tsv"))
    assert config.training.batch_tokens == 4096 and config.model.dropout == 0.2


def test_a_wrong_override_names_the_flag(recipe: Path) -> None:
    text = problem(recipe, {"training.lr": "fast"})
    assert text == "`training.lr` must be a number, but is the text `fast` (`overrides['training.lr']`)."
    assert "(`overrides['training.lrr']`), did you mean `lr`?" in problem(recipe, {"training.lrr": "1"})
    assert "`modle` is not a known setting" in problem(recipe, {"modle.d_model": "1"})


# messages


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("lr: 2e-3", "lrr: 2e-3", 11, "`training.lrr` is not a known setting ({place}), did you mean `lr`?"),
        ("lr: 2e-3", "lr: fast", 11, "`training.lr` must be a number, but is the text `fast` ({place})."),
        ("lr: 2e-3", "lr: -1", 11, "`training.lr` must be above 0, but is -1.0 ({place})."),
        ("lr: 2e-3", "lr:", 11, "`training.lr` must be a number, but is empty ({place})."),
        ("output:", "outptu:", 14, "`outptu` is not a known setting ({place}), did you mean `output`?"),
        ("output:", "max_steps: 5\noutput:", 14, "`max_steps` is not a known setting ({place}), did you mean `train"),
        ("dropout: 0.2", "base: x", 6, "`model.preset` must be left out beside `model.base`, whose"),
        ("dropout: 0.2", "num_heads: 3", 6, "`model.d_model` must be a multiple of `num_heads` (3), but is 128 ("),
        ("preset: tiny", "preset: tinny", 6, "but is the text `tinny` ({place}), did you mean `tiny`?"),
        ("path: val.tsv", "pth: val.tsv", 4, "`data.valid.0.pth` is not a known setting ({place}), did you mean `pat"),
        ("keep_best: bleu", "keep_best: ter", 13, "`validation.keep_best` must be one of bleu, chrf, valid_loss"),
        ("max_steps: 8e3", "accumulate: 2", 8, "`training` must say when to end: max_steps, max_epochs, max_minu"),
        ("model: {preset: tiny, dropout: 0.2}", "model: [tiny]", 6, "`model` must be a mapping of settings, but is a"),
        ("lr: 2e-3", "batch_tokens: 5", 11, "`training.batch_tokens` must be there once, but is in lines 9 and 11"),
        ("lr: 2e-3", "lr: ${ANTIPHON_NOT_SET}", 11, "variable `ANTIPHON_NOT_SET` must be set, but is not ({place})"),
        ("lr: 2e-3", "lr: !!python/name:os.system", 11, "no tags, but has `tag:yaml.org,2002:python/name:os.s"),
        ("lr: 2e-3", "? [a]\n  : 1", 11, "a key must be a plain text, but is a list or a mapping ({place})."),
        ("lr: 2e-3", "lr: [1", 12, "a recipe must be YAML, but"),
        ("lr: 2e-3", " lr: 2e-3", 11, "a recipe must be YAML, but mapping values are not allowed here ({place})."),
        ("lr: 2e-3", "\tlr: 2e-3", 11, "a recipe must be YAML, but"),
        ("lr: 2e-3", "lr: *a", 11, "a recipe must be YAML, but found undefined alias 'a' ({place})."),
    ],
)  # fmt: skip
def test_a_mistake_names_the_file_and_the_line(recipe: Path, old: str, new: str, line: int, words: str) -> None:
    text = problem(changed(recipe, old, new))
    assert words.replace("{place}", f"{recipe}:{line}") in text
    assert f"({recipe}:{line})" in text


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    assert "cannot be read (No such file or directory). Check the path." in problem(path)
    assert "must be a YAML file, but" in problem(tmp_path) and "is a folder" in problem(tmp_path)
    path.write_bytes(b"task: translation\noutput: caf\xe9\n")
    assert problem(path) == f"a recipe must be UTF-8, but byte 0xe9 is not ({path}:2). {convert_hint(b'')}"
    for text in ("", "# nothing\n", "just text\n", "- a\n"):
        path.write_text(text)
        assert "a recipe must be a mapping with `data`" in problem(path)
    path.write_text("a: 1\n---\nb: 2\n")
    assert f"({path}:2)" in problem(path)
    path.write_text("a: \0\n")
    assert "must be YAML" in problem(path)
    path.write_text("task: translation\n")
    assert problem(path) == f"`data` must be given, but is not there ({path})."


def test_hostile_yaml_ends_soon(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("{a: " * 3000)
    assert "nested" in problem(path)
    path.write_text("a: &a {b: *a}\n")
    assert "nested at most 30 deep" in problem(path)
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(25))
    path.write_text(bomb)
    assert "at most 10000 values" in problem(path)


def test_a_mapping_from_python_names_the_setting() -> None:
    assert problem({**MINIMAL, "training": {"lr": -1}}) == "`training.lr` must be above 0, but is -1.0."
    with pytest.raises(ConfigError, match=r"`data` must be given, but is not there \(demo\)\."):
        from_mapping({}, where="demo")
    with pytest.raises(ConfigError, match="must be a mapping of settings"):
        from_mapping([1])  # pyright: ignore[reportArgumentType]
