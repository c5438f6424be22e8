"""The round-trip law, the ids, and training."""

from __future__ import annotations

import json
import random
import time
import unicodedata

import pytest
from counts import count

from antiphon.errors import ConfigError, DataError
from antiphon.text import Tokenizer, clean_text, train_tokenizer

KINDS = ("bpe", "unigram", "bytes", "characters", "words")
SPECIAL_TEXTS = ["</s>", "<s>", "a</s>b", "<pad><pad>", " <unk> ", "<s> in 3 hours </s>", "<0xC3><0xA9>", "<0x41>"]


def assert_gives_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text, repr(text[:80])
    assert ids[-1] == tokenizer.end_id
    assert not {0, 1, 2, 3} & set(ids[:-1]), repr(text[:80])
    assert max(ids) < tokenizer.vocab_size


def test_every_generated_text_comes_back(tokenizer, texts, figures):
    for seed in range(count("tokenizer_round_trip")):
        assert_gives_back(tokenizer, texts(seed))
    figures.add("texts through a tokenizer and back", count("tokenizer_round_trip"))


@pytest.mark.parametrize("text", ["", " ", "  ", " a", "a ", "  a", "\n", "\r\n", "\0", "a\0", "\t\t", "ﬁ", "e\u0301"])
def test_edges_come_back(tokenizer, text):
    assert_gives_back(tokenizer, text)


def test_every_character_comes_back(tokenizer):
    """The first plane of Unicode and some of the others, 997 characters a text."""
    rng = random.Random(0)
    others = rng.sample(range(0x10000, 0x110000), 20_000)
    letters = [chr(code) for code in [*range(0xD800), *range(0xE000, 0x10000), *others]]
    rng.shuffle(letters)
    step = 997
    parts = ["".join(letters[i : i + step]) for i in range(0, len(letters), step)]
    for text, ids in zip(parts, tokenizer.encode_batch(parts), strict=True):
        assert tokenizer.decode(ids) == text


@pytest.mark.data
def test_odd_lines_come_back(tokenizer, data_folder):
    rows = (data_folder / "odd-inputs" / "odd_lines.jsonl").read_text(encoding="utf-8").split("\n")
    naughty = json.loads((data_folder / "odd-inputs" / "blns" / "blns.json").read_text(encoding="utf-8"))
    odd = [json.loads(row)["text"] for row in rows if row] + naughty
    assert len(odd) > 500
    for text in odd:
        assert_gives_back(tokenizer, clean_text(text))
    assert tokenizer.encode_batch(odd) == [tokenizer.encode(text) for text in odd]


@pytest.mark.data
def test_odd_bytes_come_back_as_python_reads_them(tokenizer, data_folder):
    rows = (data_folder / "odd-inputs" / "odd_bytes.jsonl").read_text(encoding="utf-8").split("\n")
    for row in filter(None, rows):
        assert_gives_back(tokenizer, bytes.fromhex(json.loads(row)["hex"]).decode("utf-8", errors="replace"))


@pytest.mark.parametrize("text", SPECIAL_TEXTS)
def test_a_special_token_written_out_is_plain_text(tokenizer, text):
    assert_gives_back(tokenizer, text)
    assert "".join(tokenizer.tokens(text)).replace("▁", " ").strip() == text.strip()


def test_lone_surrogates_become_the_replacement_character(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b\udfff")) == "a\ufffdb\ufffd"
    assert tokenizer.encode("a\ud800") == tokenizer.encode("a\ufffd")


def test_batch_is_one_by_one(tokenizer, texts):
    many = [texts(seed) for seed in range(50)]
    assert tokenizer.encode_batch(many) == [tokenizer.encode(text) for text in many]
    assert tokenizer.encode_batch([]) == []


def test_saved_and_loaded_is_the_same(tokenizer, texts, tmp_path):
    file = tokenizer.save(tmp_path / "deep" / "folder")
    assert file.name == "tokenizer.json"
    for loaded in (Tokenizer.load(file), Tokenizer.load(file.parent)):
        assert loaded.vocab_size == tokenizer.vocab_size
        assert loaded.save(tmp_path, "source").read_bytes() == file.read_bytes()
        for seed in range(50):
            text = texts(seed)
            assert loaded.encode(text) == tokenizer.encode(text)
            assert loaded.tokens(text) == tokenizer.tokens(text)


def test_ids_without_meaning_are_skipped(tokenizer):
    ids = tokenizer.encode("in 3 hours")
    assert tokenizer.decode([0, 1, *ids, 2, 0, -1, 10**9]) == "in 3 hours"
    assert tokenizer.pieces([1, *ids], specials=True) == ["<s>", *tokenizer.tokens("in 3 hours"), "</s>"]
    assert tokenizer.pieces(ids) == tokenizer.tokens("in 3 hours")


def test_special_ids(tokenizer):
    assert (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id, tokenizer.unk_id) == (0, 1, 2, 3)


def test_bytes_are_utf8_plus_four():
    tokenizer = train_tokenizer([], kind="bytes", vocab_size=260)
    for text in ("Hi", "é 日 👩", "\0\n"):
        assert tokenizer.encode(text) == [byte + 4 for byte in text.encode()] + [2]
    assert tokenizer.tokens("é ") == ["<0xC3>", "<0xA9>", "▁"]


def test_characters_are_single(training_texts):
    tokenizer = train_tokenizer(training_texts, kind="characters", vocab_size=1000)
    assert tokenizer.tokens("März 日!") == [*"März▁日!"]
    assert tokenizer.tokens("月") == ["<0xE6>", "<0x9C>", "<0x88>"]
    fewest = train_tokenizer(training_texts, kind="characters", vocab_size=261)
    letters = "".join(training_texts)
    assert fewest.vocab_size == 261
    assert fewest.tokens(max(sorted(set(letters)), key=letters.count)) == ["▁"]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_subwords(kind, training_texts):
    tokenizer = train_tokenizer(training_texts, kind=kind, vocab_size=400)
    assert tokenizer.tokens("hours 2025") == ["▁hours", "▁", "2", "0", "2", "5"]  # digits alone, first word as inside
    assert tokenizer.tokens("Stunden ago") == ["▁Stunden", "▁ago"]
    shortest = train_tokenizer(training_texts, kind=kind, vocab_size=260)
    length = {size: sum(map(len, made.encode_batch(training_texts))) for size, made in ((1, shortest), (2, tokenizer))}
    assert length[2] < 0.6 * length[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocab_size", [260, 261, 300, 5000])
def test_vocab_size_is_a_bound(kind, vocab_size, training_texts):
    for texts in (training_texts, ["a"], [" " * 9000], ["x" * 9000] * 2, ["\0"], ["日本"]):
        tokenizer = train_tokenizer(texts, kind=kind, vocab_size=vocab_size)
        assert 260 <= tokenizer.vocab_size <= vocab_size
        assert_gives_back(tokenizer, "xyz ä\t\0 日")
    full = train_tokenizer(training_texts, kind=kind, vocab_size=vocab_size)
    assert full.vocab_size == min(vocab_size, 260) or kind != "bytes"


@pytest.mark.parametrize("kind", KINDS)
def test_training_twice_gives_the_same_file(kind, training_texts):
    first, second = (train_tokenizer(iter(training_texts), kind=kind, vocab_size=300) for _ in range(2))
    assert first.vocabulary.content == second.vocabulary.content


@pytest.mark.parametrize("kind", KINDS)
def test_vocab_size_below_the_bytes_is_an_error(kind):
    with pytest.raises(ConfigError, match=r"at least 260 .* but is 259"):
        train_tokenizer(["a"], kind=kind, vocab_size=259)


def test_unknown_kind_names_the_nearest():
    with pytest.raises(ConfigError, match=r"is `unigran`, did you mean `unigram`\?"):
        train_tokenizer(["a"], kind="unigran")


@pytest.mark.parametrize("kind", ["bpe", "unigram", "characters", "words"])
@pytest.mark.parametrize("nothing", [[], [""], ["", ""]])
def test_no_text_is_an_error(kind, nothing):
    with pytest.raises(DataError, match="at least one text"):
        train_tokenizer(nothing, kind=kind)


@pytest.mark.parametrize(
    "make", [lambda n: "a" * n, lambda n: " " * n, lambda n: "ab " * (n // 3), lambda n: "\u0301" * n]
)
def test_time_is_linear(tokenizer, make):
    """100,000 characters within the 100 ms per 10 kB that we allow."""
    text = make(100_000)
    start = time.perf_counter()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert time.perf_counter() - start < 10 * len(text.encode()) / 1e6 + 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["nfc", "nfd", "nfkc", "nfkd"])
def test_a_normal_form_is_what_comes_back(kind, form, training_texts):
    tokenizer = train_tokenizer(training_texts, kind=kind, vocab_size=600, normalize=form)
    for text in ("März", "Ma\u0308rz", "한국 ﬁ", *training_texts[:20]):
        assert_decodes_to(tokenizer, text, unicodedata.normalize(form.upper(), text))


@pytest.mark.parametrize("kind", KINDS)
def test_lower_case_is_what_comes_back_and_symbols_keep_theirs(kind, training_texts):
    tokenizer = train_tokenizer(training_texts, kind=kind, vocab_size=600, lowercase=True, symbols=["<DE>"])
    assert tokenizer.encode("MÄRZ am März") == tokenizer.encode("märz am märz")
    for text in ("MÄRZ 5", "ÉCOLE Σ 日", *training_texts[:20]):
        assert_decodes_to(tokenizer, text, text.lower())
    assert "<DE>" in tokenizer.tokens("<DE> März")


@pytest.mark.parametrize("kind", KINDS)
def test_lower_case_and_a_normal_form_together(kind, training_texts):
    tokenizer = train_tokenizer(training_texts, kind=kind, vocab_size=600, normalize="nfd", lowercase=True)
    assert_decodes_to(tokenizer, "MÄRZ", "ma\u0308rz")


def assert_decodes_to(tokenizer, text, expected):
    assert tokenizer.decode(tokenizer.encode(text)) == expected
    assert "".join(tokenizer.tokens(text)) == "".join(tokenizer.tokens(expected))


@pytest.mark.parametrize("length", [0, 1, 4, 100])
def test_what_is_truncated_keeps_what_stands_behind_a_text(tokenizer, length):
    ids = tokenizer.encode("in three hours and twenty minutes")
    after = tokenizer.frame[1]
    assert after, "an end, at least"
    found = tokenizer.truncate(ids, length)
    assert len(found) == min(length, len(ids))
    if length >= len(after):
        assert found[-len(after) :] == after
        assert found[: -len(after)] == ids[: len(found) - len(after)]
    assert tokenizer.truncate(ids, len(ids)) == ids
