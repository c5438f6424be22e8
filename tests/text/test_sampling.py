"""Splits that differ from epoch to epoch: the same text, the tokenizer's own split without dropout, right shares."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter

import pytest

from antiphon.errors import ConfigError
from antiphon.text import make_sampler, train_tokenizer
from antiphon.text import sampling as module
from tests.text.conftest import corpus, make_text

TEXTS = [*corpus(), *(make_text(seed) for seed in range(200))]
KINDS = {"bpe": {"dropout": 0.3}, "unigram": {"sampling": 0.3}}


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    tokenizer = train_tokenizer(corpus(), kind=request.param, vocab_size=400, symbols=["<fre>", "<fr>"])
    return tokenizer, make_sampler(tokenizer, **KINDS[request.param])


def test_every_split_gives_the_text_back(case):
    tokenizer, sampler = case
    for epoch in range(3):
        rows = sampler.encode_batch(TEXTS, range(len(TEXTS)), seed=0, epoch=epoch)
        assert [tokenizer.decode(row) for row in rows] == TEXTS
        assert all(row[-1] == tokenizer.end_id for row in rows)


def test_a_split_is_a_function_of_text_key_seed_and_epoch(case):
    _, sampler = case
    keys = range(len(TEXTS))
    first = sampler.encode_batch(TEXTS, keys, seed=0, epoch=1)
    other = sampler.encode_batch(TEXTS, keys, seed=0, epoch=2)
    backwards = sampler.encode_batch(TEXTS[::-1], keys[::-1], seed=0, epoch=1)[::-1]
    assert first == backwards
    assert sum(a != b for a, b in zip(first, other, strict=True)) > 50
    assert sampler.encode_batch(TEXTS, [key + 1 for key in keys], seed=0, epoch=1) != first
    assert sampler.encode_batch(TEXTS, keys, seed=1, epoch=1) != first
    assert sampler.encode_batch(TEXTS, keys, seed=0, epoch=1) == first


@pytest.mark.parametrize("text", ["<fre> in 3 hours", "in <fre>  3", "<fr><fre>", "a <fre>", "<fre>hours"])
def test_symbols_are_found_as_the_tokenizer_does(text):
    tokenizer = train_tokenizer(corpus(), kind="bpe", vocab_size=400, symbols=["<fre>", "<fr>"])
    sampler = make_sampler(tokenizer, dropout=1e-9)
    assert sampler.encode_batch([text], [0], seed=0, epoch=0) == [tokenizer.encode(text)]


def test_without_dropout_it_is_the_tokenizer():
    tokenizer = train_tokenizer(corpus(), kind="bpe", vocab_size=400)
    assert make_sampler(tokenizer) is None
    sampler = make_sampler(tokenizer, dropout=1e-9)
    assert sampler.encode_batch(TEXTS, range(len(TEXTS)), seed=0, epoch=0) == tokenizer.encode_batch(TEXTS)


def test_almost_all_dropout_leaves_bytes():
    tokenizer = train_tokenizer(corpus(), kind="bpe", vocab_size=400)
    sampler = make_sampler(tokenizer, dropout=1 - 1e-9)
    row = sampler.encode_batch(["hours"], [0], seed=0, epoch=0)[0]
    assert len(row) == len(" hours") + 1


def test_unigram_draws_splits_by_their_probability(monkeypatch):
    """Against all splits of a word, enumerated."""
    monkeypatch.setattr(module, "MAX_SPLITS", 1)
    tokenizer = train_tokenizer(corpus(), kind="unigram", vocab_size=400)
    power, word, draws = 0.5, "hours", 4000
    scores = dict(json.loads(tokenizer.vocabulary.content)["model"]["vocab"])
    letters = "Ġ" + word
    weights: dict[tuple[str, ...], float] = {}
    for count in range(len(letters)):
        for cuts in itertools.combinations(range(1, len(letters)), count):
            parts = tuple(letters[a:b] for a, b in itertools.pairwise((0, *cuts, len(letters))))
            if all(part in scores for part in parts):
                weights[parts] = math.exp(power * sum(scores[part] for part in parts))
    total = sum(weights.values())
    sampler = make_sampler(tokenizer, sampling=power)
    seen = Counter(
        tuple(
            piece.replace("▁", "Ġ")
            for piece in tokenizer.pieces(sampler.encode_batch([word], [0], seed=0, epoch=epoch)[0])
        )
        for epoch in range(draws)
    )
    for parts, weight in weights.items():
        p = weight / total
        assert abs(seen[parts] / draws - p) < 4 * math.sqrt(p * (1 - p) / draws) + 1e-3, parts
    assert set(seen) <= set(weights)


def test_another_kind_is_refused_by_name():
    tokenizer = train_tokenizer(corpus(), kind="unigram", vocab_size=400)
    with pytest.raises(ConfigError, match=r"`tokenizer.dropout` needs a tokenizer.json of the kind BPE.*Unigram"):
        make_sampler(tokenizer, dropout=0.1)
