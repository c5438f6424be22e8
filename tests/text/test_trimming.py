"""A trimmed tokenizer splits the texts that it was trimmed to as the whole one did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Rust

from antiphon.errors import ConfigError
from antiphon.text import DENOISING_TOKENS, Tokenizer, train_tokenizer
from antiphon.text.trimming import trim
from antiphon.text.vocabulary import JsonVocabulary

CORPUS = [
    f"{subject} {verb} the {adverb} {thing} {number} times"
    for number, subject in enumerate(["The singer", "A choir", "Nobody", "The old conductor", "Überall ein Sänger"])
    for verb in ["answers", "repeated", "is listening to", "wrote"]
    for adverb in ["quietest", "unbelievable", "", "zweite"]
    for thing in ["line", "antiphon", "melody", "congregation", "歌"]
]
KEPT = CORPUS[:7] + CORPUS[200:203]
OTHERS = ["a zebra sings 42 songs", "Ünknown ☃ words 日本", "", "  two  spaces ", CORPUS[150]]


def whole(rust: Rust) -> Tokenizer:
    return Tokenizer(JsonVocabulary(rust.to_str().encode(), where="a test"))


def foreign_bpe(**settings: Any) -> Tokenizer:
    """BPE over characters, with a mark for the end of a word or its inside, or neither."""
    rust = Rust(models.BPE(unk_token="<unk>", fuse_unk=True, **settings))
    rust.pre_tokenizer = pre_tokenizers.Whitespace() if settings else pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
        **settings,
    )
    rust.train_from_iterator(CORPUS, trainer)
    rust.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return whole(rust)


def foreign_unigram() -> Tokenizer:
    """Unigram as T5 has it: the unknown token 2, sentinels behind the model's own tokens."""
    rust = Rust(models.Unigram())
    rust.normalizer = normalizers.NFKC()
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=250, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    rust.train_from_iterator(CORPUS, trainer)
    rust.add_special_tokens([f"<extra_id_{number}>" for number in range(5)])
    rust.add_tokens([AddedToken("<de>", normalized=False)])
    end = rust.token_to_id("</s>")
    rust.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", end)])
    return whole(rust)


def words() -> Tokenizer:
    rust = Rust(
        models.WordLevel({"</s>": 4, **{word: 5 + i for i, word in enumerate(["a", "b", "c", "d"])}, "<unk>": 0})
    )
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    return whole(rust)


MADE = {
    **{kind: lambda kind=kind: train_tokenizer(CORPUS, kind=kind, vocab_size=420) for kind in ("bpe", "unigram")},
    **{kind: lambda kind=kind: train_tokenizer(CORPUS, kind=kind, vocab_size=420) for kind in ("bytes", "characters")},
    "words": lambda: train_tokenizer(CORPUS, kind="words", vocab_size=420, symbols=["<de>"]),
    "marked": lambda: train_tokenizer(CORPUS, kind="bpe", vocab_size=420, special_tokens=DENOISING_TOKENS),
    "foreign bpe": foreign_bpe,
    "bpe with inside": lambda: foreign_bpe(continuing_subword_prefix="##"),
    "bpe with ends": lambda: foreign_bpe(end_of_word_suffix="</w>"),
    "foreign unigram": foreign_unigram,
}
BYTES = ("bpe", "unigram", "bytes", "characters", "words", "marked")  # those that spell every text


@pytest.mark.parametrize("name", MADE)
def test_texts_of_kept_tokens_are_split_as_before(name: str) -> None:
    old = MADE[name]()
    used = {id for text in KEPT for id in old.encode(text)}
    made = trim(old, used)
    new = made.tokenizer
    assert used <= {*made.old_ids} and len(made.old_ids) == new.vocab_size
    smaller = new.vocab_size < old.vocab_size
    assert smaller or name in ("bytes", "characters")  # the letters of these texts are all that they have
    for text in KEPT:
        assert [made.old_ids[id] for id in new.encode(text)] == old.encode(text), text
        assert new.decode(new.encode(text)) == old.decode(old.encode(text))
    assert [new.pieces([id], specials=True) for id in range(new.vocab_size)] == [
        old.pieces([id], specials=True) for id in made.old_ids
    ]
    for kind in ("pad_id", "start_id", "end_id", "unk_id"):
        id = getattr(new, kind)
        assert (None if id is None else made.old_ids[id]) == getattr(old, kind), kind
    assert {made.old_ids[id] for id in new.vocabulary.specials.control} == {*old.vocabulary.specials.control}
    if name in BYTES:
        assert [new.decode(new.encode(text)) for text in OTHERS] == [old.decode(old.encode(text)) for text in OTHERS]
    assert new.encode(KEPT[0] + " answers") and trim(new, {*range(new.vocab_size)}).old_ids == [*range(new.vocab_size)]


@pytest.mark.parametrize("name", MADE)
def test_every_text_of_the_corpus_alone(name: str) -> None:
    """Whatever is kept, the texts that use no more are split as before."""
    old = MADE[name]()
    rows = {text: old.encode(text) for text in CORPUS[::17] + OTHERS}
    for text in list(rows)[::4]:
        made = trim(old, rows[text])
        for other, ids in rows.items():
            if {*ids} <= {*made.old_ids}:
                assert [made.old_ids[id] for id in made.tokenizer.encode(other)] == ids, (text, other)


def test_a_word_level_tokenizer_keeps_its_words() -> None:
    old = words()
    made = trim(old, {*old.encode("a c c")})
    assert [made.old_ids[id] for id in made.tokenizer.encode("c a c")] == old.encode("c a c")
    assert made.tokenizer.tokens("a b c") == ["a", "c"]  # unknown ones are special


def test_what_cannot_be_trimmed_is_refused_by_name(tmp_path: Path) -> None:
    rust = Rust(models.WordPiece({"a": 0, "##b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    with pytest.raises(ConfigError, match="only a tokenizer of the kinds BPE, Unigram, WordLevel can be trimmed, but"):
        trim(whole(rust), {0})
    import sentencepiece

    (tmp_path / "text.txt").write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.Train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "m"), vocab_size=60, minloglevel=2
    )
    with pytest.raises(ConfigError, match=r"only a tokenizer.json can change, but the base has a sentencepiece"):
        trim(Tokenizer.load(tmp_path / "m.model"), {5})
