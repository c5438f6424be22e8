"""Tokenizer files from elsewhere, and files that are broken on purpose."""

from __future__ import annotations

import io
import json
import random

import pytest
import sentencepiece
from counts import parts
from models import hostile
from tokenizers import Tokenizer as Rust
from tokenizers import decoders, models, pre_tokenizers, processors

from antiphon.errors import ModelError
from antiphon.text import Tokenizer, train_tokenizer

JUNK = [None, -1, 0, 2**31, 2**64, 1e300, "", "x" * 999, [], {}, True, "<s>", "Sequence", "BPE", "Precompiled", "Strip"]


def sentencepiece_model(texts: list[str], **settings: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=75,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    return model.getvalue()


@pytest.mark.parametrize("name", ["tokenizer.spm", "spiece.model", "sentencepiece.bpe.model"])
def test_sentencepiece_gives_the_ids_of_its_library(training_texts, tmp_path, name):
    content = sentencepiece_model(training_texts, pad_id=3)
    (tmp_path / name).write_bytes(content)
    tokenizer = Tokenizer.load(tmp_path)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    assert (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id, tokenizer.unk_id) == (3, 1, 2, 0)
    for text in ["in 3 hours", "Straße  März ", "", " ", "</s> <unk>", "漢字"]:
        assert tokenizer.encode(text) == [*theirs.encode(text), 2]
        assert tokenizer.tokens(text) == [
            piece for piece in theirs.encode(text, out_type=str) if piece in known(theirs)
        ]
        assert tokenizer.decode(tokenizer.encode(text)) == theirs.decode(
            [id for id in theirs.encode(text) if id != theirs.unk_id()]
        )
    assert tokenizer.save(tmp_path, "source").read_bytes() == content
    assert tokenizer.save(tmp_path, "source").name == "source.spm"


def known(processor: sentencepiece.SentencePieceProcessor) -> set[str]:
    return {processor.id_to_piece(id) for id in range(processor.vocab_size())}


def test_missing_special_ids_come_behind_the_others(training_texts, tmp_path):
    (tmp_path / "spiece.model").write_bytes(
        content := sentencepiece_model(training_texts, pad_id=-1, bos_id=-1, eos_id=-1)
    )
    size = sentencepiece.SentencePieceProcessor(model_proto=content).vocab_size()
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.pad_id, tokenizer.end_id, tokenizer.vocab_size) == (size, size + 1, size + 2)
    assert tokenizer.start_id == tokenizer.pad_id  # as T5 and Marian do
    assert tokenizer.pieces([size, size + 1], specials=True) == ["<pad>", "</s>"]
    assert tokenizer.decode(tokenizer.encode("in 10 hours")) == "in 10 hours"


def test_a_file_with_a_template_keeps_it(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "in", "hour", "##s", "3"]
    rust = Rust(models.WordPiece({word: id for id, word in enumerate(words)}, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    rust.decoder = decoders.WordPiece()
    rust.add_special_tokens(words[:4])
    rust.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    rust.enable_padding(length=20)
    rust.enable_truncation(2)
    rust.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.start_id, tokenizer.end_id) == (0, 1, 2, 3)
    assert tokenizer.encode("in 3 hours") == [2, 4, 7, 5, 6, 3]  # neither cut nor padded
    assert tokenizer.decode([2, 4, 7, 5, 6, 3, 0, 0]) == "in 3 hours"
    assert tokenizer.tokens("in 3 hours") == ["in", "3", "hour", "##s"]
    assert Tokenizer.load(tmp_path, ends=False).encode("in 3 hours") == [4, 7, 5, 6]


def test_a_special_token_among_the_words_is_spelled(tmp_path):
    """A vocabulary whose model itself would find "</s>" in a text."""
    words = [("<pad>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -5.0) for letter in "<>/sab")]
    rust = Rust(models.Unigram(words, unk_id=3, byte_fallback=False))
    rust.decoder = decoders.Fuse()
    rust.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>"])
    rust.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.tokens("a</s>b") == [*"a</s>b"]
    assert tokenizer.decode(tokenizer.encode("a</s>b")) == "a</s>b"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"", "must be a working tokenizer.json, but fails"),
        ("tokenizer.json", b"{}", "must be a working tokenizer.json, but fails"),
        ("tokenizer.json", b"\xff\xfe", "must be a working tokenizer.json, but fails"),
        ("tokenizer.spm", b"", "must have 1 to 16777216 pieces, but has 0|must be a working sentencepiece model"),
        ("tokenizer.spm", b"{}", "must be a working sentencepiece model, but fails"),
        ("tokenizer.spm", b"\x80\x04]\x94.", "must be a working sentencepiece model, but fails"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        Tokenizer.load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_path_without_a_tokenizer_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"must hold a tokenizer \(tokenizer.json, "):
        Tokenizer.load(tmp_path)
    with pytest.raises(ModelError, match="there is no tokenizer at"):
        Tokenizer.load(tmp_path / "absent.json")
    (tmp_path / "tokenizer.pickle").write_bytes(b"cos\nsystem\n.")
    with pytest.raises(ModelError, match=r"must be a \.json, \.spm or \.model file"):
        Tokenizer.load(tmp_path / "tokenizer.pickle")


def test_an_id_of_billions_is_refused(training_texts, tmp_path):
    content = json.loads(train_tokenizer(training_texts, kind="bytes", vocab_size=260).vocabulary.content)
    content["model"]["vocab"]["a"] = 2**32 - 1
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="must have 1 to 16777216 ids, but has 4294967296"):
        Tokenizer.load(tmp_path)


def mutant(content: bytes, rng: random.Random) -> bytes:
    """`content` with a few bytes changed, removed, inserted, doubled or cut off."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        i, n = rng.randrange(len(made)), rng.randint(1, 50)
        piece = rng.choice((b"", rng.randbytes(n % 9 + 1), bytes(made[i : i + n])))
        made[i : i + (n if rng.random() < 0.5 else 0)] = piece
    return bytes(made[: rng.randrange(len(made))] if rng.random() < 0.1 else made)


def json_mutant(content: bytes, rng: random.Random) -> bytes:
    """`content`, still JSON, with a value of the wrong kind or size somewhere."""
    root = place = json.loads(content)
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.85:
            place = place[key]
            continue
        place[key] = rng.choice(JUNK)
        return json.dumps(root).encode()


@pytest.mark.parametrize("seeds", parts("hostile_files", most=1000))
@pytest.mark.parametrize("form", ["bpe", "unigram", "characters", "spm"])
def test_hostile_files_load_or_are_a_model_error(form, seeds, training_texts, tmp_path, figures):
    file = tmp_path / ("tokenizer.spm" if form == "spm" else "tokenizer.json")
    if form == "spm":
        # Without its normalisation table, 240 kB that would take nearly every mutation.
        content = sentencepiece_model(training_texts, normalization_rule_name="identity")
    else:
        content = train_tokenizer(training_texts, kind=form, vocab_size=300).vocabulary.content
    refused = 0
    for seed in seeds:
        rng = random.Random(f"{form} {seed}")
        file.write_bytes((json_mutant if form != "spm" and seed % 2 else mutant)(content, rng))
        try:
            with hostile.watched(tmp_path):
                tokenizer = Tokenizer.load(file)
                assert isinstance(tokenizer.decode(tokenizer.encode("in 3 hours \0 日 </s>")), str)
                assert len(tokenizer.pieces(range(min(tokenizer.vocab_size, 400)))) <= 400
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > len(seeds) // 3
    figures.add("mutants of .spm" if form == "spm" else f"mutants of a tokenizer of kind {form}", len(seeds))
