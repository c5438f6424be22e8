"""What the files of a folder say of its search, against transformers: what is forced, sampled, stopped and passed over,
and the way back."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from models.test_hub import change
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from workflows.test_train import recipe

import antiphon
from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.models.folders.hub import load_pretrained, save_pretrained
from antiphon.settings import override
from antiphon.workflows import train

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "c", "d", "e", "f", "g", "h"]
SOURCES = ["a b", "c", "d e f", "h h a", "g b c d", "e a", "b b", "f"]
IDS = {"bos_token_id": 0, "decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}


def make(folder: Path, config: dict[str, Any] | None = None, search: dict[str, Any] | None = None) -> Path:
    """A random BART of twelve words; `search` None: there is no generation_config.json."""
    torch.manual_seed(3)
    settings = transformers.BartConfig(
        vocab_size=12, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
        forced_eos_token_id=None,
    )  # fmt: skip
    network = transformers.BartForConditionalGeneration(settings)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.4)
    network.save_pretrained(folder)
    rust = Tokenizer(models.WordLevel({word: id for id, word in enumerate(WORDS)}, unk_token="<unk>"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    rust.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    rust.save(str(folder / "tokenizer.json"))
    change(folder / "config.json", **({"forced_eos_token_id": ...} | IDS | (config or {})))
    if search is None:
        (folder / "generation_config.json").unlink()
    else:
        (folder / "generation_config.json").write_text(json.dumps(IDS | {"max_length": 7} | search))
    return folder


def theirs(folder: Path, **settings: Any) -> list[list[int]]:
    """The ids of transformers' answers, without the end."""
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    found = []
    for source in SOURCES:
        ids = torch.tensor([[0, *(WORDS.index(word) for word in source.split()), 2]])
        answer = network.generate(input_ids=ids, **settings)[0, 1:].tolist()
        found.append(answer[: answer.index(2)] if 2 in answer else answer)
    return found


def ours(folder: Path) -> list[list[int]]:
    model = antiphon.load(folder)
    return [[WORDS.index(token) for token in answer.tokens] for answer in model.generate(SOURCES)]


FORCED: dict[str, Any] = {
    "forced_bos_token_id": 9, "forced_eos_token_id": 2, "suppress_tokens": [4, 5, 6, 7],
    "bad_words_ids": [[4], [5], [6], [7]],
}  # fmt: skip


@pytest.mark.parametrize("name", FORCED)
def test_what_stands_in_config_json_alone_is_forced_only_without_the_other_file(name: str, tmp_path: Path) -> None:
    """F7: deleting or nulling a key of generation_config.json turns it off."""
    value = FORCED[name]
    plain = ours(make(tmp_path / "plain", {}, {}))
    absent, null = make(tmp_path / "absent", {name: value}, {}), make(tmp_path / "null", {name: value}, {name: None})
    there = make(tmp_path / "there", {}, {name: value})
    assert ours(absent) == ours(null) == plain == theirs(absent) == theirs(null)
    assert ours(there) == theirs(there) != plain


def test_pad_start_and_end_in_config_json_alone_are_read(tmp_path: Path) -> None:
    folder = make(tmp_path / "ids", {}, {})
    wanted = ours(folder)
    (folder / "generation_config.json").write_text(json.dumps({"max_length": 7}))
    assert ours(folder) == wanted


@pytest.mark.parametrize("value", [True, False, "never", None])
@pytest.mark.parametrize("penalty", [1.0, 0.0])
def test_early_stopping_is_patience(value: object, penalty: float, tmp_path: Path) -> None:
    """U3: `true` ends a beam when `num_beams` of its hypotheses have ended."""
    search = {"num_beams": 3, "length_penalty": penalty, "early_stopping": value, "max_length": 14}
    folder = make(tmp_path / "stop", {}, search)
    assert antiphon.load(folder).generation.patience == (1.0 if value is True else None)
    assert ours(folder) == theirs(folder, early_stopping=True if value is True else "never")


@pytest.mark.parametrize(
    ("said", "top_k"), [({}, 50), ({"top_k": None}, 50), ({"top_k": 0}, None), ({"top_k": 7}, 7), ({"top_p": 0.9}, 50)]
)
def test_sampling_among_fifty_where_the_file_is_silent(said: dict[str, Any], top_k: int | None, tmp_path: Path) -> None:
    """F6: transformers' default."""
    model = antiphon.load(make(tmp_path / "sampled", {}, {"do_sample": True, "temperature": None, **said}))
    assert (model.generation.top_k, model.generation.temperature) == (top_k, 1.0)
    back = model.save(tmp_path / "back", format="huggingface")
    assert json.loads((back / "generation_config.json").read_text())["top_k"] == (top_k or 0)
    assert antiphon.load(back).generation == model.generation


def test_sampling_draws_from_as_many_tokens_as_transformers(tmp_path: Path) -> None:
    folder = make(tmp_path / "sampled", {}, {"do_sample": True, "temperature": 9.0, "top_k": 3})
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    ids = torch.tensor([[0, 4, 5, 2]]).expand(400, -1)
    drawn = set(network.generate(input_ids=ids, max_new_tokens=1)[:, 1].tolist())
    found = {answer.tokens[0] for answer in antiphon.load(folder).generate(["a b"] * 400, max_new_tokens=1)}
    assert {WORDS.index(token) for token in found} == drawn and len(found) == 3


def test_settings_that_are_passed_over_are_named_in_one_warning(tmp_path: Path) -> None:
    """U4"""
    passed = {"encoder_no_repeat_ngram_size": 3, "sequence_bias": [[[4], -9.0]], "typical_p": 0.5, "max_time": 3.0}
    folder = make(tmp_path / "passed", {}, passed | {"epsilon_cutoff": 0.0, "renormalize_logits": False})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        antiphon.load(folder)
    said = [str(warning.message) for warning in caught]
    assert len(said) == 1 and "\n" not in said[0] and "generation_config.json" in said[0]
    assert all(name in said[0] for name in passed) and "epsilon" not in said[0] and "renormalize" not in said[0]


def test_nothing_is_said_where_nothing_is_passed_over(tmp_path: Path) -> None:
    folder = make(tmp_path / "plain", {}, {"num_beams": 2, "early_stopping": True, "typical_p": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        antiphon.load(folder).save(tmp_path / "back", format="huggingface")


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("generation_config.json", {"suppress_tokens": [-1]}),
        ("generation_config.json", {"bad_words_ids": [["a"]]}),
        ("generation_config.json", {"forced_bos_token_id": "b"}),
        ("generation_config.json", {"num_beams": 0}),
        ("generation_config.json", {"pad_token_id": -4}),
        ("config.json", {"d_model": "wide"}),
        ("config.json", {"pad_token_id": -4}),
    ],
)
def test_the_file_that_has_the_key_is_named(file: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """F20"""
    folder = make(tmp_path / "broken", {}, {})
    change(folder / file, **changes)
    if file == "config.json":
        change(folder / "generation_config.json", **dict.fromkeys(changes, ...))
    with pytest.raises(ConfigError) as caught:
        load_pretrained(folder)
    other = {"config.json": "generation_config.json", "generation_config.json": "/config.json"}[file]
    assert next(iter(changes)) in str(caught.value)
    assert f"/{file})" in str(caught.value) and other not in str(caught.value)


def test_without_the_other_file_config_json_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "alone", {"num_beams": 0}, None)
    with pytest.raises(ConfigError, match=r"num_beams.*/config\.json\)"):
        load_pretrained(folder)


def test_several_tokens_of_a_bad_word_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="`bad_words_ids` must be single ids"):
        load_pretrained(make(tmp_path / "words", {}, {"bad_words_ids": [[4, 5]]}))


WRITTEN: list[dict[str, Any]] = [
    {"beam_size": 1},
    {"beam_size": 4, "length_penalty": 0.6},
    {"beam_size": 4, "patience": 1.0, "length_penalty": 0.0},
    {"beam_size": 3, "no_repeat_ngram": 2, "min_new_tokens": 4},
    {"beam_size": 3, "n_best": 2, "repetition_penalty": 1.4},
    {"beam_size": 4, "max_new_tokens": 30},
]


@pytest.mark.parametrize("settings", WRITTEN, ids=str)
def test_the_folder_answers_as_the_model_does(settings: dict[str, Any], tmp_path: Path) -> None:
    """F8: with what is in the folder alone, transformers gives the model's own answers, longer than 20 tokens too."""
    parts = load_pretrained(make(tmp_path / "made", {}, {}))
    usual = override(GenerationConfig(), {"max_new_tokens": None, **settings})
    folder = save_pretrained(tmp_path / "back", replace(parts, generation=usual))
    answers = ours(folder)
    assert answers == theirs(folder)
    if settings.get("max_new_tokens") == 30:
        assert max(map(len, answers)) > 20, "the test needs a long answer"


def test_groups_are_written_and_read(tmp_path: Path) -> None:
    parts = load_pretrained(make(tmp_path / "made", {}, {}))
    usual = GenerationConfig(beam_size=4, beam_groups=2, diversity_penalty=0.7, max_new_tokens=9)
    with pytest.warns(UserWarning, match=r"`beam_groups` 2 \(written, but transformers 5 asks"):
        folder = save_pretrained(tmp_path / "back", replace(parts, generation=usual))
    content = json.loads((folder / "generation_config.json").read_text())
    assert (content["num_beam_groups"], content["diversity_penalty"]) == (2, 0.7)
    assert antiphon.load(folder).generation == usual


def test_what_has_no_word_there_is_named_once_in_one_line(tmp_path: Path) -> None:
    parts = load_pretrained(make(tmp_path / "made", {}, {}))
    unsaid: dict[str, Any] = {
        "length_penalty_kind": "gnmt", "patience": 2.0, "coverage_penalty": 0.3, "prefix": "a",
        "allowed": ("a", "b"), "required": ("b",), "forbidden": ("c",), "overflow": "truncate",
    }  # fmt: skip
    for names in ([name] for name in unsaid):
        said = warnings_of(replace(parts, generation=GenerationConfig(**{n: unsaid[n] for n in names})), tmp_path)
        assert len(said) == 1 and f"`{names[0]}`" in said[0]
    said = warnings_of(replace(parts, generation=GenerationConfig(**unsaid)), tmp_path)
    assert len(said) == 1 and "\n" not in said[0] and all(f"`{name}`" in said[0] for name in unsaid)
    assert warnings_of(replace(parts, generation=GenerationConfig(beam_size=4, repetition_penalty=2.0)), tmp_path) == []


def test_the_template_of_training_is_named_too(tmp_path: Path) -> None:
    parts = replace(load_pretrained(make(tmp_path / "folder", {}, {})), template="a {}")
    assert warnings_of(parts, tmp_path) == [said for said in warnings_of(parts, tmp_path) if "the template" in said]
    assert len(warnings_of(parts, tmp_path)) == 1
    parts = replace(parts, generation=override(parts.generation, {"template": False}))
    assert warnings_of(parts, tmp_path) == []


@pytest.mark.parametrize("name", ["decoder_start_token_id", "forced_bos_token_id", "eos_token_id", "pad_token_id"])
def test_ids_beyond_the_table_are_refused(name: str, tmp_path: Path) -> None:
    # The start had been read from beyond the table, with any answer.
    folder = make(tmp_path / "folder", {}, {**IDS, name: 12})
    with pytest.raises(ModelError, match=rf"`{name}` of .* must be below 12, .* but is 12\."):
        load_pretrained(folder)


def test_the_penalty_of_an_own_model_is_named_too(tmp_path: Path) -> None:
    made = recipe(tmp_path / "run", training={"max_steps": 1}, model={"preset": "base", "encoder_layers": 1})
    parts = train(made, quiet=True).model.parts
    said = warnings_of(replace(parts, generation=GenerationConfig(beam_size=4, repetition_penalty=2.0)), tmp_path)
    assert len(said) == 1 and "`repetition_penalty` 2.0" in said[0]
    assert warnings_of(replace(parts, generation=GenerationConfig(beam_size=1, repetition_penalty=2.0)), tmp_path) == []


def warnings_of(parts: Any, folder: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save_pretrained(folder / "written", parts)
    return [str(warning.message) for warning in caught if "search settings" in str(warning.message)]
