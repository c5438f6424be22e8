"""Corpora in memory and streamed: the same examples, what is skipped or cut, and little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from corpora import TASK, TOP, bytes_tokenizer, files, random_pairs, streamed

from antiphon.batch import Example
from antiphon.config import SourceConfig
from antiphon.data import InMemory, Streamed, corpus, load_corpus
from antiphon.errors import ConfigError, DataError
from antiphon.text import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return bytes_tokenizer()


def load(
    data: object, tokenizer: Tokenizer, *, max_length: int = 100, overflow: str = "error", streaming: str = "auto"
):
    return load_corpus(
        data,
        task=TASK,
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        max_length=max_length,
        overflow=overflow,
        streaming=streaming,
    )


def examples_of(made: InMemory | Streamed) -> list[Example]:
    return [example for pool in made.pools(TOP, seed=0, epoch=0, first=1.0) for example in pool.examples]


def test_streamed_and_in_memory_hold_the_same_examples(tmp_path: Path, tokenizer: Tokenizer) -> None:
    stream = streamed(tmp_path)
    memory = load(stream.mixture.data, tokenizer, streaming="never")
    assert isinstance(memory, InMemory)
    assert sorted(examples_of(stream), key=lambda one: one.index) == list(memory)
    assert stream.report == memory.report
    assert len(list(stream.pools(TOP, seed=0, epoch=0, first=1.0))) > 5


def test_ids_are_the_tokenizers_and_decode_to_the_text(tokenizer: Tokenizer) -> None:
    pairs = random_pairs(20)
    made = load(pairs, tokenizer)
    assert [(tokenizer.decode(one.source), tokenizer.decode(one.target)) for one in made] == pairs
    assert all(one.source == tokenizer.encode(source) for one, (source, _) in zip(made, pairs, strict=True))
    assert [one.index for one in made] == list(range(20))


def test_each_pool_is_found_again_from_its_start(tmp_path: Path) -> None:
    stream = streamed(tmp_path)
    pools = list(stream.pools(TOP, seed=0, epoch=0, first=0.3))
    assert 300 <= pools[0].examples.tokens < 500  # the share `first` of 1,000
    assert all(1000 <= pool.examples.tokens < 1200 for pool in pools[1:-1])
    for number, pool in enumerate(pools):
        again = list(stream.pools(pool.start, seed=0, epoch=0, first=0.3))
        assert [list(one.examples) for one in again] == [list(one.examples) for one in pools[number:]]


def test_where_an_example_was_read(tmp_path: Path, tokenizer: Tokenizer) -> None:
    stream = streamed(tmp_path)
    memory = load(stream.mixture.data, tokenizer, streaming="never")
    assert isinstance(memory, InMemory)
    assert str(memory.place(0)) == f"{tmp_path / 'x.en'}:1"
    assert str(memory.place(200)) == f"{tmp_path / 'x.en'}:203"  # behind the two empty ones
    assert str(memory.place(270)) == f"{tmp_path / 'y.tsv'}:1"
    assert str(load([("a", "b"), ("c", "d")], tokenizer).place(1)) == "pairs[1]"


def test_empty_sides_are_skipped_and_counted(tokenizer: Tokenizer) -> None:
    made = load([("a", "A"), ("", "B"), ("c", ""), ("", ""), (" e ", "E"), (" ", "F")], tokenizer)
    assert [tokenizer.decode(one.source) for one in made] == ["a", " e "]
    assert (made.report.read, made.report.kept, made.report.empty) == (6, 2, 4)
    assert str(made.report) == "6 pairs read, 2 kept, 4 skipped with an empty side"


@pytest.mark.parametrize("streaming", ["never", "always"])
def test_what_happens_to_a_longer_side(tmp_path: Path, tokenizer: Tokenizer, streaming: str) -> None:
    # a text of n bytes has n + 1 tokens, the end included
    pairs = [("a" * 9, "b" * 9), ("a" * 9, "b" * 10), ("a" * 12, "b" * 2), ("c", "d")]
    data = files(tmp_path, pairs)

    def made(overflow: str) -> tuple[InMemory | Streamed, list[Example]]:
        found = load(data, tokenizer, max_length=10, overflow=overflow, streaming=streaming)
        return found, examples_of(found)

    with pytest.raises(DataError) as caught:
        made("error")
    text = str(caught.value)
    assert f"a target must have at most 10 tokens, but has 11 ({tmp_path / 'x.de.gz'}:2)." in text
    assert "`data.max_length`" in text and "`data.overflow`" in text

    found, examples = made("skip")
    assert [len(one.source) for one in examples] == [10, 2] and found.report.too_long == 2
    assert "2 skipped as too long" in str(found.report)

    found, examples = made("truncate")
    assert [tokenizer.decode(one.source) for one in examples] == ["a" * 9, "a" * 9, "a" * 9, "c"]
    assert [tokenizer.decode(one.target) for one in examples] == ["b" * 9, "b" * 9, "b" * 2, "d"]
    assert all(one.source[-1] == one.target[-1] == tokenizer.end_id for one in examples)
    assert found.report.truncated == 2 and "2 truncated" in str(found.report)


def test_truncation_without_an_end_token() -> None:
    bare = Tokenizer(bytes_tokenizer().vocabulary, ends=False)
    found = load([("abcdef", "b")], bare, max_length=3, overflow="truncate")
    assert [bare.decode(one.source) for one in found] == ["abc"]


def test_nothing_left_is_an_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from antiphon.data import Batches

    for data in ([], [("", "a")], iter(())):
        with pytest.raises(DataError, match="at least one pair to learn from"):
            load(data, tokenizer)
    stream = load(files(tmp_path, [("aaaa", "b")]), tokenizer, max_length=2, overflow="skip", streaming="always")
    with pytest.raises(DataError, match="1 pairs read so far, 0 kept, 1 skipped as too long"):
        Batches(stream, batch_tokens=10, seed=0)


def test_what_is_streamed(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    data = files(tmp_path, random_pairs())
    assert isinstance(load(data, tokenizer), InMemory)
    assert isinstance(load(data, tokenizer, streaming="always"), Streamed)
    monkeypatch.setattr(corpus, "STREAM_BYTES", 100)
    assert isinstance(load(data, tokenizer), Streamed)
    assert isinstance(load(data, tokenizer, streaming="never"), InMemory)
    assert isinstance(load(random_pairs(), tokenizer), InMemory)
    with pytest.raises(ConfigError, match=r"`data\.streaming` must be auto or never"):
        load(random_pairs(), tokenizer, streaming="always")


def test_streaming_finds_sides_of_different_length_before_the_first_batch(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = files(tmp_path, random_pairs())
    with open(tmp_path / "x.en", "a") as stream:
        stream.write("one more\n")
    with pytest.raises(DataError, match=r"has 301 and .* has 300"):
        load(data, tokenizer, streaming="always")


def test_the_memory_of_streaming_does_not_grow_with_the_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    def peak(lines: int) -> int:
        for name in ("big.en", "big.de"):
            (tmp_path / name).write_text(("x" * 100 + "\n") * lines)
        data = SourceConfig(source=str(tmp_path / "big.en"), target=str(tmp_path / "big.de"))
        made = load(data, tokenizer, max_length=20, overflow="truncate", streaming="always")
        assert isinstance(made, Streamed)
        made.pool_tokens = 20_000
        tracemalloc.start()
        try:
            assert sum(len(pool.examples) for pool in made.pools(TOP, seed=0, epoch=0, first=1.0)) == lines
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(6000) < 1.2 * peak(2000)
