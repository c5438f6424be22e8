"""Objectives on plain text: nothing is lost, the shares are as set, resumed = uninterrupted, streamed = in memory."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from corpora import TASK, TOP
from hypothesis import given
from hypothesis import strategies as st

from antiphon.config import DataConfig
from antiphon.data import Batches, InMemory, Streamed, cases, load_corpus, load_objectives, records
from antiphon.data.denoising import Objective
from antiphon.errors import ConfigError, DataError
from antiphon.registry import register
from antiphon.text import DENOISING_TOKENS, DenoisingTokens, Tokenizer, train_tokenizer

TEXTS = [f"The {a} saw {b}. Did {b} run? It ran {n} miles!" for n in range(9) for a in ("cat", "dog") for b in "xyz"]


def make(kind: str = "bpe", special_tokens: list[str] = DENOISING_TOKENS) -> Tokenizer:
    return train_tokenizer(TEXTS, kind=kind, vocab_size=320, special_tokens=special_tokens)


TOKENIZER = make()
SPECIAL = DenoisingTokens(TOKENIZER)
SENTINELS, MASK = SPECIAL.sentinels, SPECIAL.mask
ids_lists = st.lists(st.integers(4, MASK - 1), min_size=1, max_size=300)
densities = st.floats(0.01, 1.0)


def objective(*items: Any) -> Objective:
    config = DataConfig(train={"text": "x.txt", "objective": list(items)})
    return load_objectives(config.train)[0]


def spans_of(target: list[int]) -> dict[int, list[int]]:
    """Of each sentinel, what follows it."""
    found: dict[int, list[int]] = {}
    for id in target:
        if id in SENTINELS:
            found[id] = []
        else:
            found[next(reversed(found))].append(id)
    return found


# laws


@given(ids=ids_lists, density=densities, mean=st.floats(1, 12), seed=st.integers())
def test_span_corruption_loses_nothing(ids: list[int], density: float, mean: float, seed: int) -> None:
    corrupt = objective({"span_corruption": {"density": density, "mean_span": mean}})
    source, target = corrupt(ids, random.Random(seed), SPECIAL)
    spans = spans_of(target)
    used = [id for id in source if id in SENTINELS]
    assert [*used, SENTINELS[len(used)]] == list(spans) == list(SENTINELS[: len(used) + 1])
    assert spans[SENTINELS[len(used)]] == []
    assert all(spans[id] for id in used)
    assert [part for id in source for part in spans.get(id, [id])] == ids
    hidden = sum(map(len, spans.values()))
    assert hidden == min(max(1, round(len(ids) * density)), max(1, len(ids) - 2))
    fits = min(max(1, round(hidden / mean)), hidden, max(1, len(ids) - hidden - 1), len(SENTINELS) - 1)
    assert len(used) == fits
    assert source
    if len(ids) > 2:
        assert max(len(source), len(target)) <= len(ids)
        # Two spans never touch: else they would be one.
        assert not any(a in SENTINELS and b in SENTINELS for a, b in pairwise(source))


@given(ids=ids_lists, density=densities, mean=st.floats(0.1, 12), seed=st.integers())
def test_infilling_writes_the_whole_text(ids: list[int], density: float, mean: float, seed: int) -> None:
    corrupt = objective({"text_infilling": {"density": density, "mean_span": mean}})
    source, target = corrupt(ids, random.Random(seed), SPECIAL)
    assert target == ids
    assert 0 < len(source) <= len(ids)
    kept = [id for id in source if id != MASK]
    assert len(ids) - len(kept) == max(1, round(len(ids) * density))
    rest = iter(ids)
    assert all(id in rest for id in kept)  # in their order
    assert MASK in source


@given(st.lists(st.sampled_from([*TEXTS, "no stop", "3.5 of it."]), min_size=1, max_size=8), st.integers())
def test_permutation_is_one_of_sentences(texts: list[str], seed: int) -> None:
    ids = TOKENIZER.bare(TOKENIZER.encode(" ".join(texts)))
    source, target = objective("sentence_permutation")(ids, random.Random(seed), SPECIAL)
    assert target == ids
    sentences = [tuple(sentence) for sentence in SPECIAL.sentences(ids)]
    assert [id for sentence in sentences for id in sentence] == ids
    left = Counter(sentences)
    while source:
        found = next(one for one in sorted(left, key=len, reverse=True) if tuple(source[: len(one)]) == one)
        left -= Counter([found])
        source = source[len(found) :]
    assert not left


@given(ids_lists, st.integers())
def test_prefix_and_rest_are_the_text(ids: list[int], seed: int) -> None:
    source, target = objective("prefix_lm")(ids, random.Random(seed), SPECIAL)
    assert source + target == ids
    assert target
    assert bool(source) == (len(ids) > 1)


@given(ids_lists, st.integers())
def test_objectives_together(ids: list[int], seed: int) -> None:
    both, chance = objective("sentence_permutation", "text_infilling"), random.Random(seed)
    source, target = both(ids, random.Random(seed), SPECIAL)
    moved, _ = objective("sentence_permutation")(ids, chance, SPECIAL)
    assert (source, target) == (objective("text_infilling")(moved, chance, SPECIAL)[0], ids)


def test_sentences_end_at_a_stop_before_a_space() -> None:
    for kind in ("bpe", "unigram", "characters", "bytes", "words"):
        tokenizer = make(kind)
        text = "It is 3.5 now. Is it? Yes!"
        parts = DenoisingTokens(tokenizer).sentences(tokenizer.bare(tokenizer.encode(text)))
        assert [tokenizer.decode(part).strip() for part in parts] == ["It is 3.5 now.", "Is it?", "Yes!"], kind
    characters = train_tokenizer(["犬。猫！"], kind="characters", special_tokens=DENOISING_TOKENS)
    parts = DenoisingTokens(characters).sentences(characters.bare(characters.encode("犬。猫！")))
    assert [characters.decode(part) for part in parts] == ["犬。", "猫！"]


def test_places_and_lengths_are_spread_as_set() -> None:
    """Each token is hidden equally often, ends included, and the spans of infilling are Poisson."""
    chance, ids = random.Random(0), list(range(4, 44))
    corrupt, hidden, runs = objective({"span_corruption": {"density": 0.3, "mean_span": 3}}), Counter[int](), 4000
    for _ in range(runs):
        _, target = corrupt(ids, chance, SPECIAL)
        hidden.update(id for id in target if id not in SENTINELS)
    shares = [hidden[id] / runs for id in ids]
    assert sum(shares) / len(shares) == pytest.approx(0.3)
    # With 4 spans of 3 on average the ends are hidden less often; none is left out as the first is in T5's code.
    assert min(shares) > 0.1
    assert max(shares) < 0.4
    fill, lengths, ids = (
        objective({"text_infilling": {"density": 0.3, "mean_span": 3}}),
        Counter[int](),
        list(range(4, 204)),
    )
    for _ in range(300):
        source, _ = fill(ids, chance, SPECIAL)
        known = [*source, 204]
        for place, id in enumerate(known[:-1]):
            before = known[place - 1] if place else 3
            if id == MASK and MASK not in (before, known[place + 1]):
                lengths[known[place + 1] - before - 1] += 1
    total = lengths.total()
    assert sum(length * number for length, number in lengths.items()) / total == pytest.approx(3, abs=0.15)
    assert lengths[0] / total == pytest.approx(2.718281828**-3, abs=0.02)  # P(0) of Poisson(3)


# tokenizers


@pytest.mark.parametrize("kind", ["bpe", "unigram", "bytes", "characters", "words"])
def test_marks_never_come_from_text_and_are_never_read(kind: str, tmp_path: Path) -> None:
    plain, made = make(kind, []), make(kind)
    made.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.vocab_size == made.vocab_size == plain.vocab_size + len(DENOISING_TOKENS)
    special = DenoisingTokens(again)
    assert len({*special.sentinels, special.mask}) == 101
    for text in (*TEXTS[:3], "<mask> and <extra_id_0><extra_id_99> </s>", " <mask> ", "<extra_id_7>"):
        ids = again.encode(text)
        assert ids == plain.encode(text)
        assert again.decode([special.mask, *ids, special.sentinels[3]]) == text
        assert again.enclose(again.bare(ids)) == ids


def test_a_tokenizer_without_marks_is_one_clear_line(tmp_path: Path) -> None:
    for name, token in (("span_corruption", "<extra_id_0>"), ("text_infilling", "<mask>")):
        with pytest.raises(ConfigError, match=f"must have the special tokens `{token}`.*train") as caught:
            load(tmp_path, [name], tokenizer=make(special_tokens=[]))
        assert "\n" not in str(caught.value)
    load(tmp_path, ["prefix_lm"], tokenizer=make(special_tokens=[]))  # needs none


# corpora


def write(folder: Path) -> None:
    chance = random.Random(1)
    lines = [" ".join(chance.choices(TEXTS, k=chance.randint(1, 6))) for _ in range(80)]
    text = "\n".join([*lines[:40], "", "  ", *lines[40:]]) + "\n"
    (folder / "a.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (folder / "b.tsv").write_text("".join(f"{line}\t{n}\n" for n, line in enumerate(lines[:30])))
    (folder / "c.tsv").write_text("".join(f"{line}\tyes {n}\n" for n, line in enumerate(TEXTS)))


def config_of(folder: Path, items: list[Any], weights: tuple[float, ...] | None = None) -> DataConfig:
    write(folder)
    made: list[dict[str, Any]] = [
        {"text": str(folder / "a.txt.gz"), "objective": items},
        {"path": str(folder / "b.tsv"), "text_field": 0, "objective": items[0], "tag": "fill", "prefix": "now: "},
        {"path": str(folder / "c.tsv")},
    ]
    return DataConfig(train=[{**one, "weight": w} for one, w in zip(made, weights, strict=True)] if weights else made)


def load(
    folder: Path, items: list[Any], streaming: str = "never", weights: tuple[float, ...] | None = None,
    *, tokenizer: Tokenizer = TOKENIZER, fixed: bool = False,
) -> InMemory | Streamed:  # fmt: skip
    config = config_of(folder, items, weights)
    made = load_corpus(
        config.train, task=TASK, source_tokenizer=tokenizer, target_tokenizer=tokenizer, max_length=40,
        streaming=streaming, shares=config.shares, objectives=load_objectives(config.train), fixed=fixed,
    )  # fmt: skip
    if streaming == "always":
        assert isinstance(made, Streamed)
        made.pool_tokens = 900
    return made


def examples(corpus: InMemory | Streamed, epoch: int) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    pools = corpus.pools(TOP, seed=3, epoch=epoch, first=1.0)
    found = (pool.examples[index] for pool in pools for index in pool.chosen)
    return sorted((one.index, tuple(one.source), tuple(one.target)) for one in found)


MIX = (["span_corruption"], None), (["sentence_permutation", "text_infilling"], (3.0, 1.0, 1.0))


@pytest.mark.parametrize(("items", "weights"), MIX)
def test_streamed_as_in_memory_and_anew_in_each_epoch(tmp_path: Path, items: list[str], weights: Any) -> None:
    in_memory, streamed = load(tmp_path, items, "never", weights), load(tmp_path, items, "always", weights)
    first, second = examples(in_memory, 0), examples(in_memory, 1)
    assert examples(streamed, 0) == first
    assert examples(streamed, 1) == second
    assert first != second
    assert examples(in_memory, 0) == first
    assert len(list(streamed.pools(TOP, seed=3, epoch=0, first=1.0))) > 3


@pytest.mark.parametrize("streaming", ["never", "always"])
@pytest.mark.parametrize(("items", "weights"), MIX)
def test_resumed_as_uninterrupted(tmp_path: Path, items: list[str], weights: Any, streaming: str) -> None:
    def batches() -> Batches:
        return Batches(load(tmp_path, items, streaming, weights), batch_tokens=160, seed=2)

    whole = list(islice(batches(), 150))
    assert batches().epoch == 0
    for stop in (1, 17, 60, 101):
        first, second = batches(), batches()
        for _ in islice(first, stop):
            pass
        second.restore(json.loads(json.dumps(first.state())))
        assert list(islice(second, 40)) == whole[stop : stop + 40]


def test_long_texts_are_cut_and_nothing_is_lost(tmp_path: Path) -> None:
    corpus = load(tmp_path, ["prefix_lm"])
    by_number: dict[int, list[int]] = {}
    for pool in corpus.pools(TOP, seed=0, epoch=0, first=1.0):
        for index in range(len(pool.examples)):
            example, place = pool.examples[index], pool.examples.place(index)
            if place.file.endswith(".gz"):
                assert max(len(example.source), len(example.target)) <= 40
                parts = [*TOKENIZER.bare(example.source), *TOKENIZER.bare(example.target)]
                by_number.setdefault(place.line, []).extend(parts)
    with gzip.open(tmp_path / "a.txt.gz", "rt") as file:
        lines = {number: line.strip("\n") for number, line in enumerate(file, 1) if line.strip()}
    assert {number: TOKENIZER.decode(ids) for number, ids in by_number.items()} == lines
    assert len(TOKENIZER.encode(max(lines.values(), key=len))) > 80


def test_tags_and_prefixes_stand_before_the_source(tmp_path: Path) -> None:
    corpus = load(tmp_path, ["prefix_lm"])
    sources = [one.source for pool in corpus.pools(TOP, seed=0, epoch=0, first=1.0) for one in pool.examples]
    fronted = [ids for ids in sources if TOKENIZER.decode(ids).startswith("<fill> now: ")]
    assert len(fronted) >= 30
    assert all(len(ids) <= 40 for ids in fronted)


def test_what_is_validated_on_stays(tmp_path: Path) -> None:
    held = load(tmp_path, ["span_corruption"], fixed=True)
    assert isinstance(held, InMemory)
    assert examples(held, 0) == examples(held, 5)
    assert [(one.source, one.target) for one in held] == [
        (one.source, one.target) for one in load(tmp_path, ["span_corruption"], fixed=True)
    ]


def test_plain_text_is_no_pair(tmp_path: Path) -> None:
    config = config_of(tmp_path, ["span_corruption"])
    assert len(list(records(config.train, TASK))) == len(list(cases(config.train, TASK))) == len(TEXTS)


def test_an_objective_of_ones_own(tmp_path: Path) -> None:
    @register("objective", "backwards")
    def backwards(
        ids: list[int], chance: random.Random, special: DenoisingTokens, every: int = 1
    ) -> tuple[list[int], list[int]]:
        return ids[::-every], ids

    @register("objective", "broken")
    def broken(ids: list[int], chance: random.Random, special: DenoisingTokens) -> Any:
        return ids

    first = examples(load(tmp_path, [{"backwards": {"every": 2}}]), 0)
    assert any(one[1] and len(one[1]) < len(one[2]) for one in first)
    with pytest.raises(DataError, match="the objective `broken` must return two lists of ids"):
        load(tmp_path, ["broken"])


# what is wrong


def test_settings_of_plain_text(tmp_path: Path) -> None:
    good = {"text": "x.txt", "objective": "span_corruption"}
    for wrong, words in (
        ({"train": {"text": "x.txt"}}, "`train.objective` must be given with plain text"),
        (
            {"train": {"path": "x.tsv", "objective": "prefix_lm"}},
            "`train` must have `text`, or `path` and `text_field`",
        ),
        ({"train": {**good, "path": "x.tsv"}}, "`train` must be plain text or pairs"),
        ({"train": {**good, "source": "x", "target": "y"}}, "`train` must be plain text or pairs"),
        ({"train": {**good, "objective": []}}, "`train.objective` must be an objective, but is an empty list"),
        ({"train": {**good, "objective": 3}}, "`train.objective.0` must be a name"),
        ({"train": good, "test": good}, "`test` must be pairs"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            DataConfig(**wrong)
        assert "\n" not in str(caught.value)
    for items, words in (
        ("span_corruptoin", "did you mean `span_corruption`"),
        ({"span_corruption": {"density": 0}}, "`objective.density` must be above 0 and at most 1, but is 0"),
        ({"span_corruption": {"mean": 3}}, "`objective.mean` is not a known setting"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_objectives(DataConfig(train={"text": "x.txt", "objective": items}).train)
    (tmp_path / "none.txt").write_text("\n \n")
    empty = DataConfig(train={"text": str(tmp_path / "none.txt"), "objective": "prefix_lm"}).train
    with pytest.raises(DataError, match="must hold at least one record"):
        load_corpus(
            empty, task=TASK, source_tokenizer=TOKENIZER, target_tokenizer=TOKENIZER, max_length=9,
            objectives=load_objectives(empty),
        )  # fmt: skip
    with pytest.raises(ConfigError, match="one tokenizer for both sides"):
        load_corpus(
            empty, task=TASK, source_tokenizer=TOKENIZER, target_tokenizer=make(), max_length=9,
            objectives=load_objectives(empty),
        )  # fmt: skip
