"""A tokenizer.json without a decoder: texts come back as its family writes them, without a space between all tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from text.hub import make, sentences
from tokenizers import Tokenizer as Rust
from tokenizers import models, normalizers, pre_tokenizers

from antiphon.text import Tokenizer, load_pretrained_tokenizers, train_tokenizer

TEXTS = ["in the word", "Straße über das Haus", "don't, 3,50 it's", "日本 語 です", "a"]


@pytest.mark.parametrize("name", ["t5", "pegasus", "mbart", "mbart50", "nllb", "bart", "blenderbot"])
def test_a_published_file_gets_the_decoder_of_its_family(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path, sentences())
    source, _ = load_pretrained_tokenizers(folder.path, folder.config)
    wanted = [source.decode(source.encode(text)) for text in TEXTS]
    file = folder.path / "tokenizer.json"
    content = json.loads(file.read_text())
    assert content["decoder"] is not None
    file.write_text(json.dumps(content | {"decoder": None}))
    bare, _ = load_pretrained_tokenizers(folder.path, folder.config)
    assert [bare.decode(bare.encode(text)) for text in TEXTS] == wanted
    assert [bare.encode(text) for text in TEXTS] == [source.encode(text) for text in TEXTS]


@pytest.mark.parametrize("kind", ["bytes", "bpe", "unigram"])
def test_a_file_of_ones_own_too(kind: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(sentences(), kind=kind, vocab_size=400)
    tokenizer.save(tmp_path / "whole")
    file = next((tmp_path / "whole").glob("*.json"), tmp_path / "whole")
    content = json.loads(file.read_text()) | {"decoder": None}
    (tmp_path / "bare.json").write_text(json.dumps(content))
    bare = Tokenizer.load(tmp_path / "bare.json")
    assert [bare.decode(bare.encode(text)).lstrip() for text in TEXTS] == TEXTS


def test_spaces_by_a_normalizer_and_bytes_for_what_is_missing(tmp_path: Path) -> None:
    """As SentencePiece's BPE models are converted (Llama)."""
    vocab = {f"<0x{byte:02X}>": 3 + byte for byte in range(256)} | {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocab |= {letter: 259 + i for i, letter in enumerate("▁abin")}
    rust = Rust(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    rust.save(str(tmp_path / "spm.json"))
    tokenizer = Tokenizer.load(tmp_path / "spm.json")
    assert [tokenizer.decode(tokenizer.encode(text)) for text in ("in a b", "ä b日")] == ["in a b", "ä b日"]


def test_parts_of_words_are_joined_and_whole_words_stand_apart(tmp_path: Path) -> None:
    words = {"[UNK]": 0, "play": 1, "##ing": 2, "now": 3, ".": 4}
    rust = Rust(models.WordPiece(words, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    rust.save(str(tmp_path / "parts.json"))
    parts = Tokenizer.load(tmp_path / "parts.json")
    assert parts.decode(parts.encode("playing now")) == "playing now"
    whole = Rust(models.WordLevel({"<unk>": 0, "play": 1, "now": 2}, unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    whole.save(str(tmp_path / "whole.json"))
    words_ = Tokenizer.load(tmp_path / "whole.json")
    assert words_.decode(words_.encode("play now")) == "play now"


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ({"end_of_word_suffix": "</w>"}, ["p", "l", "p</w>", "l</w>"]),
        ({"continuing_subword_prefix": "##"}, ["p", "l", "##p", "##l"]),
    ],
)
def test_marks_of_words_in_bpe_are_no_text(marks: dict[str, str], words: list[str], tmp_path: Path) -> None:
    vocab = {word: id for id, word in enumerate(["<unk>", *words])}
    rust = Rust(models.BPE(vocab, [], unk_token="<unk>", **marks))
    rust.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rust.save(str(tmp_path / "bpe.json"))
    tokenizer = Tokenizer.load(tmp_path / "bpe.json")
    assert tokenizer.decode(tokenizer.encode("pl lpp p")) == "pl lpp p"
