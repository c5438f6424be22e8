"""A tokenizer.json with BPE-dropout in it: random in training alone, and there by the seeded sampler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from models.test_hub import change, parts_of
from safetensors.torch import load_file
from tokenizers import decoders, models, pre_tokenizers, trainers
from workflows.test_train import PAIRS, recipe

import antiphon
from antiphon.errors import ConfigError
from antiphon.models.folders.hub import save_pretrained
from antiphon.text import Tokenizer, dropout_of, make_sampler
from antiphon.workflows import train

TEXT = "three four five six one two"


def file_of(folder: Path, dropout: float | None) -> Path:
    """A tokenizer.json of another program, of many merges."""
    rust = tokenizers.Tokenizer(models.BPE())
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator([text for pair in PAIRS for text in pair], trainer)
    rust.model.dropout = dropout
    file = folder / f"{dropout}.json"
    rust.save(str(file))
    return file


def splits(tokenizer: Tokenizer) -> set[tuple[int, ...]]:
    return {tuple(tokenizer.encode(TEXT)) for _ in range(50)}


@pytest.mark.parametrize("dropout", [0.1, 0.5, 1.0])
def test_a_loaded_file_splits_as_without_dropout(tmp_path: Path, dropout: float) -> None:
    random, plain = (Tokenizer.load(file_of(tmp_path, share)) for share in (dropout, None))
    assert splits(random) == {tuple(plain.encode(TEXT))}
    random.save(tmp_path / "kept")
    assert splits(Tokenizer.load(tmp_path / "kept")) == splits(plain)
    assert dropout_of(random) == dropout and dropout_of(plain) == 0


def test_a_published_folder_splits_as_without_dropout(tmp_path: Path) -> None:
    import transformers

    folder = save_pretrained(tmp_path / "t5", parts_of("t5"))
    file = file_of(tmp_path, 0.3)
    change(folder / "config.json", vocab_size=270)
    content = json.loads(file.read_text())
    content["model"]["merges"] = content["model"]["merges"][:8]
    kept = {merge if isinstance(merge, str) else "".join(merge) for merge in content["model"]["merges"]}
    vocab = [name for name in content["model"]["vocab"] if len(name) == 1 or name in kept or name[0] == "<"]
    content["model"]["vocab"] = {name: id for id, name in enumerate(vocab)}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    there = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    assert len({tuple(there(TEXT)["input_ids"]) for _ in range(50)}) > 1
    model = antiphon.load(folder)
    assert len(splits(model.tokenizer)) == 1
    assert len({model.score(TEXT, "one two")[0] for _ in range(5)}) == 1


def test_training_takes_the_files_dropout_by_its_seed(tmp_path: Path) -> None:
    file = file_of(tmp_path, 0.2)

    def run(name: str, steps: int, **sections: Any) -> Path:
        made = recipe(tmp_path / name, training={"max_steps": steps, "seed": 1}, **sections)
        made["tokenizer"] = {"kind": str(sections.get("file", file))}
        made.pop("file", None)
        train(made, quiet=True, resume=(tmp_path / name).exists())
        return tmp_path / name / "model" / "model.safetensors"

    whole, again = run("whole", 20), run("again", 20)
    run("parts", 10)
    parts = run("parts", 20)
    plain = run("plain", 20, file=file_of(tmp_path, None))
    weights = {path: load_file(path) for path in (whole, again, parts, plain)}

    def same(one: Path, other: Path) -> bool:
        return all(torch.equal(weights[one][name], weights[other][name]) for name in weights[one])

    assert same(whole, again) and same(whole, parts)
    assert not same(whole, plain)  # the sampler was there
    model = antiphon.load(tmp_path / "whole")
    assert len({model.generate(TEXT, max_new_tokens=5)[0].text for _ in range(5)}) == 1


def test_for_transformers_the_file_has_no_dropout(tmp_path: Path) -> None:
    file = file_of(tmp_path, 0.2)
    made = recipe(tmp_path / "run", training={"max_steps": 1}, model={"preset": "base", "encoder_layers": 1})
    made["tokenizer"] = {"kind": str(file)}
    train(made, quiet=True).model.save(tmp_path / "theirs", format="huggingface")
    assert json.loads((tmp_path / "theirs" / "tokenizer.json").read_text())["model"]["dropout"] is None


def test_a_dropout_that_no_sampler_can_draw_is_refused_by_name(tmp_path: Path) -> None:
    file = file_of(tmp_path, 0.2)
    content = json.loads(file.read_text())
    content["model"]["end_of_word_suffix"] = "</w>"
    file.write_text(json.dumps(content))
    tokenizer = Tokenizer.load(file)
    with pytest.raises(ConfigError, match=r"no `dropout`.*has 0.2.*Set `dropout` in its `model` to null"):
        dropout_of(tokenizer)


def test_letters_that_the_file_lacks_are_unknown(tmp_path: Path) -> None:
    rust = tokenizers.Tokenizer(models.BPE({"<unk>": 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")], unk_token="<unk>"))
    rust.model.dropout = 0.5
    rust.save(str(tmp_path / "odd.json"))
    tokenizer = Tokenizer.load(tmp_path / "odd.json")
    sampler = make_sampler(tokenizer, dropout=1e-9)
    assert sampler is not None
    assert sampler.encode_batch(["ab?ab"], [0], seed=0, epoch=0) == [tokenizer.encode("ab?ab")]
    assert tokenizer.encode("ab?ab")[:3] == [3, 0, 3]
