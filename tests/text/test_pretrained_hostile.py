"""Folders with broken tokenizer files: each loads, or is one ModelError."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from counts import count
from text.test_loaded import json_mutant, mutant

from antiphon.errors import ModelError
from antiphon.text import Tokenizer, load_pretrained_tokenizers

hub = pytest.importorskip("text.hub", reason="needs transformers, which writes the folders", exc_type=ImportError)

FILES = {
    "t5_spm": ("spiece.model", "tokenizer_config.json"),
    "nllb_spm": ("sentencepiece.bpe.model", "tokenizer_config.json"),
    "mbart": ("tokenizer.json", "tokenizer_config.json"),
    "m2m": ("vocab.json", "sentencepiece.bpe.model", "tokenizer_config.json", "added_tokens.json"),
    "marian": ("source.spm", "vocab.json", "tokenizer_config.json"),
    "bart_old": ("vocab.json", "merges.txt"),
    "byt5": ("tokenizer_config.json", "added_tokens.json"),
}


def used(tokenizer: Tokenizer) -> None:
    assert isinstance(tokenizer.decode(tokenizer.encode("in 3 hours \0 日 </s> <mask>")), str)
    assert len(tokenizer.pieces(range(min(tokenizer.vocab_size, 400)))) <= 400


def changed(file: Path, content: bytes, seed: int) -> None:
    rng = random.Random(f"{file.name} {seed}")
    as_json = file.suffix == ".json" and seed % 2
    file.write_bytes((json_mutant if as_json else mutant)(content, rng))


@pytest.mark.parametrize("name", FILES)
def test_mutants_of_a_folder(name: str, tmp_path: Path) -> None:
    made = hub.make(name, tmp_path / name, hub.sentences())
    refused = 0
    for place, file in enumerate(FILES[name]):
        content = (made.path / file).read_bytes()
        for seed in range(place, count("hostile_files"), len(FILES[name]) * 2):
            changed(made.path / file, content, seed)
            try:
                for tokenizer in load_pretrained_tokenizers(made.path, made.config):
                    used(tokenizer)
            except ModelError as error:
                refused += 1
                assert "\n" not in str(error)
        (made.path / file).write_bytes(content)
    assert refused > 3


@pytest.mark.parametrize("name", ["mbart_spm", "marian", "byt5"])
def test_mutants_of_our_record(name: str, tmp_path: Path) -> None:
    made = hub.make(name, tmp_path / name, hub.sentences())
    file = load_pretrained_tokenizers(made.path, made.config)[0].save(tmp_path / "own")
    content, refused = file.read_bytes(), 0
    for seed in range(count("hostile_files")):
        changed(file, content, seed)
        try:
            used(Tokenizer.load(file))
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > count("hostile_files") // 4


@pytest.mark.parametrize(("name", "kind"), [("t5_spm", "char"), ("mbart_spm", "word")])
def test_a_sentencepiece_model_of_another_kind(name: str, kind: str, tmp_path: Path) -> None:
    made = hub.make(name, tmp_path / name, hub.sentences())
    file = next(path for path in made.path.iterdir() if path.suffix == ".model")
    file.write_bytes(hub.train_spm(hub.sentences(), model_type=kind, pad_id=3))
    with pytest.raises(ModelError, match=r"fails .its kind is [34], neither unigram nor BPE"):
        load_pretrained_tokenizers(made.path, made.config)


def test_a_link_out_of_the_folder(tmp_path: Path) -> None:
    made = hub.make("t5_spm", tmp_path / "t5", hub.sentences())
    outside = shutil.move(made.path / "spiece.model", tmp_path / "outside.model")
    (made.path / "spiece.model").symlink_to(outside)
    with pytest.raises(ModelError, match=r"spiece.model` must lie in its folder, but is a link out of it"):
        load_pretrained_tokenizers(made.path, made.config)
