"""Names of transformers, peft and fairseq: each has its answer in `generate`, `load`, a recipe and the flags."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_args

import pytest

import antiphon
from antiphon.cli import flags
from antiphon.cli.flags import flag_names
from antiphon.cli.generate import Generate
from antiphon.cli.main import main
from antiphon.cli.train import Train
from antiphon.config import GenerationConfig, SourceConfig, TrainConfig
from antiphon.errors import ConfigError
from antiphon.generation.load import load as typed_load
from antiphon.generation.model import Model
from antiphon.recipe import from_mapping
from antiphon.settings import Settings, hints, override
from antiphon.synonyms import METHODS, PUBLIC, SYNONYMS, find

COMMANDS = {"generate": Generate, "train": Train}
FLAGS = {command: flag_names(kind) for command, kind in COMMANDS.items()}
NO_FLAGS = {  # each as it is typed, with a value
    command: {name: [flag, "1"] for name in SYNONYMS if (flag := "--" + name.replace("_", "-")) not in known}
    for command, known in FLAGS.items()
}
load: Any = typed_load  # which has none of these keywords
train: Any = antiphon.train
LOAD = inspect.signature(load).parameters


def holds(setting: str) -> bool:
    """Whether one of our settings is there."""
    *sections, name = setting.split(".")
    if sections == ["load"]:
        return name in LOAD
    kinds: list[Any] = [SourceConfig] if sections == ["data", "train"] else [TrainConfig]
    for part in sections if kinds == [TrainConfig] else []:
        inner = [hints(kind)[part] for kind in kinds if part in hints(kind)]
        kinds = [kind for hint in inner for kind in (get_args(hint) or (hint,)) if isinstance(kind, type)]
    return any(name in hints(kind) for kind in kinds if issubclass(kind, Settings))


def test_every_setting_that_is_named_is_there() -> None:
    named = [setting for entry in SYNONYMS.values() for setting in entry.ours]
    assert len(set(named)) > 50
    assert [setting for setting in named if not holds(setting)] == []
    assert len(SYNONYMS) >= 150
    assert all(entry.ours or entry.note for entry in SYNONYMS.values())


def said(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and "Known:" not in text and "did you mean" not in text, text
    return text


def answers(text: str, name: str) -> None:
    """The message names the library, and our setting with its value, or the note."""
    entry = SYNONYMS[name]
    assert f"a name of {entry.library}: " in text, text
    shown = [setting.rpartition(".")[2] for setting in entry.ours]
    assert not shown or any(f"{last}`{entry.value and ' ' + entry.value}" in text for last in shown), text
    assert entry.note in text, text


@pytest.mark.parametrize("name", SYNONYMS)
def test_each_name_is_answered_in_generate_load_and_recipes(name: str) -> None:
    if name not in hints(GenerationConfig):
        answers(said(lambda: override(GenerationConfig(), {name: 1})), name)
    if name not in LOAD:
        answers(said(lambda: load("nowhere", **{name: 1})), name)
    recipe = {"data": {"train": [("a", "b")]}, "training": {"max_steps": 1}}
    answers(said(lambda: from_mapping({**recipe, name: 1})), name)
    answers(said(lambda: from_mapping({**recipe, "training": {"max_steps": 1, name: 1}})), name)


@pytest.fixture(scope="module")
def split() -> dict[str, tuple[dict[str, Any], list[str]]]:
    """What the arguments of each command are split into when it is given all names at once: the flags that it has, and
    the words that it has no place for. Its parser takes 60 ms to make, which is once here and not for each name."""
    return {
        command: flags._split(kind, ["x", *(word for words in NO_FLAGS[command].values() for word in words)], prog="p")
        for command, kind in COMMANDS.items()
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_no_name_is_taken_for_a_flag(command: str, split: dict[str, tuple[dict[str, Any], list[str]]]) -> None:
    given, unknown = split[command]
    assert list(given.values()) in (["x"], [("x",)]), given
    assert unknown == [word for words in NO_FLAGS[command].values() for word in words]


@pytest.mark.parametrize(
    ("command", "name"), [(command, name) for command, names in NO_FLAGS.items() for name in names]
)
def test_each_name_is_answered_as_a_flag(
    command: str,
    name: str,
    split: dict[str, tuple[dict[str, Any], list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given, _ = split[command]
    words = NO_FLAGS[command][name]
    monkeypatch.setattr(flags, "_split", lambda *_, **__: (given, words))  # as the test above has seen
    assert main([command, "x", *words]) == 2
    text = capsys.readouterr().err
    entry = SYNONYMS[name]
    assert f"a name of {entry.library}: " in text and text.count("\n") == 1 and "did you mean" not in text
    named = re.findall(r"`(--[a-z][\w.-]*)`", text.partition(": give ")[2].partition(". ")[0])
    assert set(named) <= set(FLAGS[command])
    assert entry.note in text
    ours = [setting.rpartition(".")[2] for setting in entry.ours]
    assert not ours or any(last in text or last.replace("_", "-") in text for last in ours)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: override(GenerationConfig(), {"num_beams": 4}), "a name of transformers: give `beam_size`."),
        (lambda: override(GenerationConfig(), {"do_sample": True}), "give `temperature` 1.0. Without"),
        (lambda: override(GenerationConfig(), {"max_length": 20}), "give `max_new_tokens`. The start token"),
        (lambda: override(GenerationConfig(), {"lenpen": 1}), "a name of fairseq: give `length_penalty`."),
        (lambda: override(GenerationConfig(), {"source_prefix": "x"}), "give `data.train.prefix` in a recipe."),
        (
            lambda: load("x", torch_dtype="auto"),
            "`torch_dtype` is not an argument of `antiphon.load`, but a name of tr",
        ),
        (lambda: load("x", torch_dtype="auto"), "transformers: give `dtype`."),
        (lambda: load("x", num_beams=4), "give `beam_size` to `generate`"),
        (lambda: load("x", load_in_8bit=True), "give `quantize` int8. It is for answers on a CPU."),
        (lambda: train("x", learning_rate=1), "give `training.lr` in a recipe."),
        (lambda: train("x", resume_from_checkpoint=True), "it is `antiphon.train(..., resume=True)`"),
    ],
)
def test_the_answer_is_what_is_typed_there(call: Callable[[], object], words: str) -> None:
    assert words in said(call)


@pytest.mark.parametrize(
    ("section", "name", "words"),
    [
        (
            "training",
            "learning_rate",
            "`training.learning_rate` is not a known setting, but a name of transformers: gi",
        ),
        ("training", "learning_rate", "give `lr`."),
        ("training", "num_beams", "give `generation.beam_size` or `validation.beam_size`."),
        ("validation", "num_beams", "give `beam_size`."),
        ("training", "batch_size", "give `batch_tokens`."),
        ("training", "fp16", "give `precision` float16."),
        ("model", "lora_dropout", "give `training.adapter.dropout`."),
        ("model", "torch_dtype", "give `training.precision`."),
        ("model", "num_attention_heads", "give `num_heads`."),
        ("model", "vocab_size", "give `tokenizer.vocab_size`"),
    ],
)
def test_a_recipe_names_the_setting_by_its_section(section: str, name: str, words: str) -> None:
    recipe = {"data": {"train": [("a", "b")]}, "training": {"max_steps": 1}}
    content = {**recipe, section: {**recipe.get(section, {}), name: 1}}
    assert words in said(lambda: from_mapping(content))


def test_an_adapters_names_are_answered() -> None:
    for name, ours in (("r", "rank"), ("lora_alpha", "alpha"), ("target_modules", "targets")):
        content = {"data": {"train": [("a", "b")]}, "training": {"max_steps": 1, "adapter": {name: 4}}}
        assert f"a name of peft: give `{ours}`." in said(lambda made=content: from_mapping(made))


@pytest.mark.parametrize(
    ("command", "flag", "words"),
    [
        ("generate", "--num-beams", "give `--beam-size`. See"),
        ("generate", "--num_beams", "give `--beam-size`. See"),
        ("generate", "--beam", "a name of fairseq: give `--beam-size`. See"),
        ("generate", "--do-sample", "give `--temperature` 1.0."),
        ("generate", "--load-in-8bit", "give `--quantize` int8."),
        ("generate", "--learning-rate", "give `training.lr` in a recipe."),
        ("generate", "--source-prefix", "give `data.train.prefix` in a recipe."),
        ("train", "--learning-rate", "give `--training.lr`. See"),
        ("train", "--training.learning-rate", "give `--training.lr`. See"),
        ("train", "--validation.num-beams", "give `--validation.beam-size`. See"),
        ("train", "--output-dir", "give `--output`. See"),
        ("generate", "--bea", "did you mean `--beam-size`?"),
        ("generate", "--str", "did you mean `--stream`?"),
    ],
)
def test_a_flag_leads_to_the_flag(command: str, flag: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "x", flag, "4"]) == 2
    assert words in capsys.readouterr().err


def test_an_unknown_keyword_of_load_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"`devcie` is not an argument of `antiphon.load`, did you mean `device`\?$"):
        load("x", devcie="cpu")
    with pytest.raises(ConfigError, match=r"`zzz` is not an argument of `antiphon.load`. Known: path, device, "):
        load("x", zzz=1)
    with pytest.raises(TypeError):
        load()
    assert list(inspect.signature(antiphon.load).parameters) == list(LOAD)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_of_others_is_answered(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(antiphon, name)
    assert PUBLIC[name] in str(caught.value) and name not in dir(antiphon)
    assert getattr(antiphon, name, None) is None


@pytest.mark.parametrize("name", METHODS)
def test_a_models_attribute_of_others_is_answered(name: str) -> None:
    model = Model.__new__(Model)
    for owner in (Model, model):
        with pytest.raises(AttributeError) as caught:
            getattr(owner, name)
        assert METHODS[name] in str(caught.value) and "\n" not in str(caught.value)
    assert name not in dir(model) and "generate" in dir(model)


def test_what_the_answers_name_is_there() -> None:
    public = set(re.findall(r"antiphon\.(\w+)", " ".join([*PUBLIC.values(), *METHODS.values()])))
    assert public <= set(antiphon.__all__)
    notes = " ".join([*PUBLIC.values(), *METHODS.values(), *(entry.note for entry in SYNONYMS.values())])
    for path in set(re.findall(r"`model\.(\w+)", notes)) - {"base", "word_dropout", "parts", "network"}:
        assert path in dir(Model) or path == "target_tokenizer", path
    for setting in set(re.findall(r"`((?:training|validation|generation)\.\w+|model\.(?:base|word_dropout))`", notes)):
        assert holds(setting), setting


def test_a_flag_or_a_dotted_setting_is_found_too() -> None:
    assert find("--num-beams") is find("num_beams") is find("--validation.num-beams")
    assert find("beam_size") is None
