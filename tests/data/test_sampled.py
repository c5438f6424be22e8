"""The sample of a large corpus on which tokenizers are trained: a function of the seed, uniform, of a bounded size."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from corpora import TASK

from antiphon.config import SourceConfig, TrainConfig
from antiphon.data.epochs.sampled import HashedSample, sampled_shards
from antiphon.data.shards import shards
from antiphon.settings import build
from antiphon.workflows import tokenizers


def sampled(numbers: Iterable[int], *, seed: int = 0, items: int = 100, most: int = 10**9) -> list[int]:
    """The numbers that a sample holds; each text is 19 bytes, with the separator."""
    sample = HashedSample(seed=seed, max_items=items, max_bytes=most)
    for number in numbers:
        sample.add(number, (f"{number:09}", f"{-number:09}"))
        assert len(sample._heap) <= items and sample.bytes <= most
    return [int(source) for source, _ in sample.items()]


def test_it_is_a_function_of_the_seed_and_of_no_order() -> None:
    shuffled = random.Random(1).sample(range(3000), 3000)
    one = sampled(range(3000))
    assert one == sampled(shuffled) == sorted(one) and len(one) == 100
    assert one != sampled(range(3000), seed=1)
    assert set(sampled(range(3000), items=40)) < set(one) < set(sampled(range(3000), items=200))
    bounded = sampled(range(3000), most=19 * 30 + 5)
    assert bounded == sampled(shuffled, most=19 * 30 + 5) == sampled(range(3000), items=30)


def test_a_small_corpus_is_whole() -> None:
    assert sampled(range(90)) == list(range(90)) and sampled(()) == []


def test_texts_come_back() -> None:
    sample = HashedSample(seed=0, max_items=9, max_bytes=10)
    sample.add(0, ("a text of more bytes than the bound", "ü\0x"))
    assert list(sample.items()) == [("a text of more bytes than the bound", "ü x")]


def test_it_is_uniform() -> None:
    """Each number equally often over seeds, and the distances within a sample as of a random one: a hash that spreads
    consecutive numbers evenly has three of them."""
    seeds, numbers, items = 400, 200, 50
    counts = [0] * numbers
    for seed in range(seeds):
        for number in sampled(range(numbers), seed=seed, items=items):
            counts[number] += 1
    mean = seeds * items / numbers
    assert sum((count - mean) ** 2 for count in counts) / (mean * (1 - items / numbers)) < 1.5 * numbers
    for seed in range(3):
        found = sampled(range(20_000), seed=seed, items=500)
        assert len({after - before for before, after in pairwise(found)}) > 100  # of a random sample about 140


def test_memory_does_not_grow_with_the_corpus() -> None:
    sample = HashedSample(seed=0, max_items=200, max_bytes=50_000)
    tracemalloc.start()
    for number in range(20_000):
        sample.add(number, (f"{number} " * 50, "x" * 100))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * 50_000  # the texts are 7 MB


def test_shards_are_drawn_by_the_seed(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}.en").write_text("one\n")
        (tmp_path / f"{number:02}.de").write_text("eins\n")
    source = SourceConfig(source=f"{tmp_path}/*.en", target=f"{tmp_path}/*.de")
    assert sampled_shards(source, seed=0) is source
    drawn = [sampled_shards(source, seed=seed, most=5) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    made = shards(drawn[0])  # pyright: ignore[reportArgumentType]
    assert len(made) == 5 and all(str(one.source)[:-2] == str(one.target)[:-2] for one in made)
    assert sampled_shards([("a", "b")], seed=0) == [("a", "b")]


def test_tokenizers_of_a_large_corpus_are_trained_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(f"word{number} again", f"Wort{number} wieder") for number in range(400)]
    (tmp_path / "a.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in pairs))
    monkeypatch.setattr(tokenizers, "STREAM_BYTES", 100)
    learned: list[list[str]] = []

    def train(texts: Iterable[str], **settings: object) -> object:
        learned.append(list(texts))
        return real(learned[-1], **settings)  # pyright: ignore[reportArgumentType]

    real = tokenizers.train_tokenizer
    monkeypatch.setattr(tokenizers, "train_tokenizer", train)
    for seed in (0, 0, 1):
        recipe = {
            "data": {"train": {"path": f"{tmp_path}/a.tsv"}},
            "tokenizer": {"vocab_size": 300, "sample_pairs": 30},
            "training": {"seed": seed, "max_steps": 1},
        }
        tokenizers.build_tokenizers(build(TrainConfig, recipe), TASK)
    assert len(learned[0]) == 60 and set(learned[0]) <= {side for pair in pairs for side in pair}
    assert learned[0] == learned[1] != learned[2]
