"""Shares of an epoch, counted by brute force; streamed = in memory, resumed = uninterrupted, packed = plain."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import zstandard
from corpora import TASK, TOP, bytes_tokenizer
from counts import count

from antiphon.config import DataConfig, Shares, SourceConfig
from antiphon.data import Batches, InMemory, Streamed, load_corpus, load_filters
from antiphon.data.mixture import draw, share_out
from antiphon.errors import ConfigError, DataError
from antiphon.text import make_sampler, train_tokenizer

SIZES = (40, 7, 90)
FILTERS = [{"length": {"max": 8}}, "duplicates", {"ratio": {"most": 4, "unit": "characters"}}]
MIXES: dict[str, dict[str, Any]] = {
    "plain": {},
    "weights": {"weights": (1.0, 5.0, 2.0)},
    "temperature": {"temperature": 5.0},
    "proportional": {"temperature": 1.0},
}


def sources(folder: Path, weights: tuple[float, ...] | None, packed: str = "") -> list[SourceConfig]:
    """Three files, with an empty side, pairs that come twice, several targets, and one that is far longer."""
    chance, pack = random.Random(0), {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[packed]
    made: list[SourceConfig] = []
    for number, size in enumerate(SIZES):
        pairs = [
            (f"{number} {row} " + "a " * chance.randint(0, 9), f"{row}" * chance.randint(1, 6)) for row in range(size)
        ]
        rows = [{"source": one, "target": [other, f"{other}!"] if len(one) % 3 == 0 else other} for one, other in pairs]
        rows[3:3] = [rows[0], {"source": "", "target": "x"}, {"source": "twice", "target": "twice"}]
        rows.append({"source": "long " * 7, "target": "b" * 90})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        path = folder / f"{number}.jsonl{packed}"
        path.write_bytes(pack(text.encode()))
        made.append(SourceConfig(path=str(path), tag=f"t{number}", weight=weights[number] if weights else None))
    return made


def load(
    folder: Path, mix: str, streaming: str, *, filters: object = FILTERS, packed: str = "", max_length: int = 60
) -> InMemory | Streamed:
    weights = MIXES[mix].get("weights")
    config = DataConfig(
        train=sources(folder, weights, packed), temperature=MIXES[mix].get("temperature"), filters=filters
    )
    one = bytes_tokenizer()
    made = load_corpus(
        config.train,
        task=TASK,
        source_tokenizer=one,
        target_tokenizer=one,
        max_length=max_length,
        overflow="skip",
        streaming=streaming,
        filters=load_filters(config.filters),
        shares=config.shares,
    )
    if isinstance(made, Streamed):
        made.pool_tokens = 700
    return made


def key(example: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return example.index, tuple(example.source), tuple(example.target)


def epoch_of(corpus: InMemory | Streamed, epoch: int, seed: int = 0) -> Counter:
    pools = corpus.pools(TOP, seed=seed, epoch=epoch, first=1.0)
    return Counter(key(pool.examples[index]) for pool in pools for index in pool.chosen)


# shares


@pytest.mark.parametrize("shares", [Shares(), Shares((1, 2, 3)), Shares(None, 1), Shares(None, 5), Shares(None, 0.01)])
def test_shares_add_up_to_all_pairs(shares: Shares) -> None:
    for counts in ([10, 20, 70], [1, 1, 1], [3, 1000, 5], [29_000, 3600, 12]):
        sizes, total = share_out(counts, shares), sum(counts)
        assert sum(sizes) == total
        powers = (
            [value ** (1 / shares.temperature) for value in counts]
            if shares.temperature and shares.temperature >= 1
            else None
        )
        parts = shares.weights or powers or counts
        if shares.temperature != 0.01:
            assert all(abs(size - total * part / sum(parts)) < 1 for size, part in zip(sizes, parts, strict=True))
    assert share_out([10, 20, 70], Shares(None, 0.01)) == [0, 0, 100]
    assert share_out([10, 20, 70], Shares(None, 1)) == [10, 20, 70]


def test_a_draw_has_its_size_and_is_even() -> None:
    seen: Counter[int] = Counter()
    for number in range(3000):
        taken = [place for place, take in enumerate(draw(10, 3, f"{number}")) if take]
        assert len(taken) == 3
        seen.update(taken)
    assert all(780 < seen[place] < 1020 for place in range(10))  # 900 expected, with a deviation of 25
    assert list(draw(5, 9, "x")) == [True] * 5 and list(draw(5, 0, "x")) == [False] * 5


@pytest.mark.parametrize("mix", MIXES)
def test_an_epoch_holds_what_the_shares_say(tmp_path: Path, mix: str) -> None:
    made = load(tmp_path, mix, "never", max_length=200)
    assert isinstance(made, InMemory) and made._mixture is not None and made._mixture.counts is not None
    counts, shares = made._mixture.counts, Shares(**MIXES[mix])
    wanted, total = share_out(counts, shares), sum(counts)
    epochs = [epoch_of(made, epoch) for epoch in range(3)]
    for found in epochs:
        assert found.total() == total
        by_source = Counter()
        for (index, *_), times in found.items():
            source = next(number for number in range(3) if index < sum(counts[: number + 1]))
            by_source[source] += times
            assert times in (wanted[source] // counts[source], -(-wanted[source] // counts[source]))
        assert [by_source[source] for source in range(3)] == wanted
    if mix in ("plain", "proportional"):
        assert epochs[0] == epochs[1] == Counter(key(example) for example in made)
    else:
        assert wanted[2] < counts[2] and wanted[1] > 2 * counts[1]
        assert epochs[0] != epochs[1] != epochs[2]
        assert epochs[0] == epoch_of(made, 0) != epoch_of(made, 0, seed=1)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("filters", [FILTERS, None])
def test_streamed_is_in_memory(tmp_path: Path, mix: str, filters: object) -> None:
    memory = load(tmp_path, mix, "never", filters=filters)
    streamed = load(tmp_path, mix, "always", filters=filters)
    for epoch in (0, 1, 5):
        assert epoch_of(streamed, epoch, seed=3) == epoch_of(memory, epoch, seed=3)
    assert sum(epoch_of(memory, 0).values()) > 100
    if mix in ("plain", "proportional"):  # else what is too long is drawn more than once, or not at all
        assert streamed.report == memory.report and (filters or memory.report.too_long == 3)


def test_what_was_removed_is_counted(tmp_path: Path) -> None:
    made = load(tmp_path, "plain", "never")
    rows = [json.loads(line) for number in range(3) for line in (tmp_path / f"{number}.jsonl").read_text().splitlines()]
    fronts = [number for number in range(3) for _ in (tmp_path / f"{number}.jsonl").read_text().splitlines()]
    pairs = [
        (front, row["source"], target)
        for front, row in zip(fronts, rows, strict=True)
        for target in (row["target"] if isinstance(row["target"], list) else [row["target"]])
    ]
    filled = [pair for pair in pairs if pair[1] and pair[2]]
    short = [pair for pair in filled if len(pair[1].split()) <= 8]
    single = list(dict.fromkeys(short))
    alike = [pair for pair in single if max(map(len, pair[1:])) <= 4 * min(map(len, pair[1:]))]
    fitting = [pair for pair in alike if len(pair[1].encode()) + len("<t0> ") < 60 and len(pair[2]) < 60]
    assert len(pairs) > len(filled) > len(short) > len(single) > len(alike)
    assert str(made.report) == (
        f"{len(pairs)} pairs read, {len(fitting)} kept, 3 skipped with an empty side, "
        f"{len(filled) - len(short)} dropped by length, {len(short) - len(single)} dropped by duplicates, "
        f"{len(alike) and len(single) - len(alike)} dropped by ratio"
        + (f", {len(alike) - len(fitting)} skipped as too long" if len(alike) > len(fitting) else "")
    )
    assert isinstance(made, InMemory) and len(made) == made.report.kept


def test_one_source_without_memory_is_filtered_on_the_way(tmp_path: Path) -> None:
    path, one = sources(tmp_path, None)[2].path, bytes_tokenizer()

    def made(streaming: str) -> InMemory | Streamed:
        filters = load_filters([{"length": {"max": 8}}])
        return load_corpus(
            SourceConfig(path=path), task=TASK, source_tokenizer=one, target_tokenizer=one, max_length=200,
            streaming=streaming, filters=filters,
        )  # fmt: skip

    memory, streamed = made("never"), made("always")
    assert isinstance(streamed, Streamed) and streamed.mixture.counts is None  # nothing was read yet
    for epoch in range(2):
        assert epoch_of(streamed, epoch) == epoch_of(memory, epoch)
        assert str(streamed.report) == str(memory.report).replace(" read", " read so far")
    assert memory.report.dropped["length"] > 5


# order


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("streaming", ["always", "never"])
def test_resumed_anywhere_is_uninterrupted(tmp_path: Path, mix: str, streaming: str) -> None:
    def batches() -> Batches:
        return Batches(load(tmp_path, mix, streaming), batch_tokens=300, seed=5)

    whole = [[key(example) for example in batch] for batch in islice(batches(), 90)]
    assert batches()._corpus is not None
    chance = random.Random(1)
    for _ in range(max(5, count("data_order") // 4)):
        place, further = chance.randrange(60), chance.randrange(15)
        first = batches()
        for _ in islice(first, place):
            pass
        second = batches()
        second.restore(json.loads(json.dumps(first.state())))
        assert [[key(example) for example in batch] for batch in islice(second, further)] == whole[
            place : place + further
        ]
        third = batches()
        third.restore(json.loads(json.dumps(second.state())))
        rest = [[key(example) for example in batch] for batch in islice(third, 15)]
        assert rest == whole[place + further : place + further + 15]
        assert (third.epoch, third.position) != (0, 0)


@pytest.mark.parametrize("mix", MIXES)
def test_every_pool_holds_the_mix(tmp_path: Path, mix: str) -> None:
    made = load(tmp_path, mix, "always")
    assert isinstance(made, Streamed)
    sizes, positions = made.mixture.sizes(), made.mixture.start_positions()
    total, seen = sum(sizes), Counter()
    for place, item in enumerate(made.mixture.epoch(positions, seed=0, epoch=0, report=made.report), 1):
        seen[item.position.cursor.source] += 1
        for source, size in enumerate(sizes):
            assert abs(seen[source] - size * place / total) <= 1.5
    assert [seen[source] for source in range(3)] == sizes


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_is_plain(tmp_path: Path, packed: str) -> None:
    def first(packed: str) -> list:
        batches = Batches(load(tmp_path, "weights", "always", packed=packed), batch_tokens=300, seed=5)
        return [[key(example) for example in batch] for batch in islice(batches, 60)]

    assert first(packed) == first("")


@pytest.mark.parametrize("streaming", ["always", "never"])
def test_index_and_place_name_the_row(tmp_path: Path, streaming: str) -> None:
    made, one = load(tmp_path, "weights", streaming), bytes_tokenizer()
    by_index: dict[int, tuple[str, str]] = {}
    for pool in made.pools(TOP, seed=0, epoch=0, first=1.0):
        for index in pool.chosen:
            example, place = pool.examples[index], pool.examples.place(index)
            row = json.loads(Path(place.file).read_text().splitlines()[place.line - 1])
            text = one.decode(example.source)
            assert text == f"<t{Path(place.file).stem}> {row['source']}"
            assert one.decode(example.target) in row["target"]
            assert by_index.setdefault(example.index, (text, one.decode(example.target))) == (
                text,
                one.decode(example.target),
            )
    assert len(by_index) > 30


def test_a_pair_that_comes_again_is_split_anew(tmp_path: Path) -> None:
    pairs = [(f"{word} {word[::-1]}", word) for word in ("banana", "bandana", "cabana", "ananas")]
    made: list[SourceConfig] = []
    for number, weight in enumerate((30, 1)):
        path = tmp_path / f"{number}.tsv"
        path.write_text("".join(f"{source}\t{target}{number}\n" for source, target in pairs * (1 + 20 * number)))
        made.append(SourceConfig(path=str(path), weight=weight))
    tokenizer = train_tokenizer([text for pair in pairs for text in pair] * 5, kind="bpe", vocab_size=290)
    sampler = make_sampler(tokenizer, dropout=0.4)

    def batches() -> Batches:
        config = DataConfig(train=made)
        corpus = load_corpus(
            config.train, task=TASK, source_tokenizer=tokenizer, target_tokenizer=tokenizer, max_length=99,
            samplers=(sampler, None), shares=config.shares,
        )  # fmt: skip
        return Batches(corpus, batch_tokens=200, seed=2)

    whole = [[key(example) for example in batch] for batch in islice(batches(), 60)]
    splits: dict[int, set[tuple[int, ...]]] = {}
    for index, source, _ in (example for batch in whole for example in batch):
        splits.setdefault(index, set()).add(source)
    assert all(len(splits[index]) > 4 for index in range(4))  # 22 laps over the first source in an epoch
    first, second = batches(), batches()
    for _ in islice(first, 17):
        pass
    second.restore(json.loads(json.dumps(first.state())))
    assert [[key(example) for example in batch] for batch in islice(second, 30)] == whole[17:47]


# what is wrong


def test_data_that_changes_while_it_is_learned_from(tmp_path: Path) -> None:
    made, before = load(tmp_path, "weights", "always"), epoch_of(load(tmp_path, "weights", "always"), 0)
    file = tmp_path / "1.jsonl"
    text = file.read_text()
    for changed in (text + text, text[: text.index("\n") + 1]):
        file.write_text(changed)
        with pytest.raises(DataError, match=r"1\.jsonl` must not change during training"):
            epoch_of(made, 0)
    file.write_text(text)
    assert epoch_of(made, 0) == before


def test_a_share_of_nothing_is_refused(tmp_path: Path) -> None:
    for streaming in ("always", "never"):
        with pytest.raises(DataError, match=r"0\.jsonl` keeps none"):
            load(tmp_path, "weights", streaming, filters=[{"length": {"min": 20, "unit": "words"}}])


def test_settings_of_a_mix() -> None:
    two = [{"path": "x.tsv", "weight": 2}, {"path": "y.tsv"}]
    for wrong, words in (
        ({"train": two}, r"`train` must have a weight at all sources or none, but 1 of 2 have one"),
        ({"train": two[:1], "temperature": 2}, "`temperature` must not stand beside weights"),
        ({"train": [("a", "b")], "temperature": 2}, "`temperature` must only be given where `data.train` is files"),
        ({"train": two[1], "valid": [two[0]]}, r"`valid\.0\.weight` must not be given"),
        ({"train": [{"path": "x.tsv", "weight": 0}]}, r"`train\.0\.weight` must be above 0, but is 0"),
        ({"train": {"path": "x.tsv", "tag": "a b"}}, r"`train\.tag` must be one word without < and >"),
        ({"train": two[1], "temperature": 0}, "`temperature` must be above 0"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            DataConfig(**wrong)
        assert "\n" not in str(caught.value)


def test_mappings_of_texts_are_pairs_and_mappings_of_paths_are_files(tmp_path: Path) -> None:
    texts = [{"source": "A dog.", "target": "Ein Hund."}, {"source": "dog", "target": "Hund"}]
    made = DataConfig(train=texts)
    assert made.train == tuple(texts) and list(load_pairs(made.train)) == [("A dog.", "Ein Hund."), ("dog", "Hund")]
    several = [{"source": "a", "target": ["b", "c"]}]
    assert list(load_pairs(DataConfig(train=several).train)) == [("a", "b"), ("a", "c")]
    (tmp_path / "plain").write_text("a\n")
    for files in (
        ("train.en", "train.de"),
        ("My Data/train.en.gz", "x"),
        ("/data/x", "y"),
        (str(tmp_path / "plain"), "y"),
    ):
        found = DataConfig(train=[{"source": files[0], "target": files[1]}])
        assert isinstance(found.train, tuple) and isinstance(found.train[0], SourceConfig)


def load_pairs(data: object) -> list[tuple[str, str]]:
    from antiphon.data import records

    return [(source, target) for source, target, _ in records(data, TASK)]
