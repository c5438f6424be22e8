"""A source's answer is the same alone and in any company, with any padding (acceptance row 28)."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from counts import count
from search.toys import NAMES, SPECIAL, assert_same, source_of, toy
from torture.figures import FigureRecorder

from antiphon.config import GenerationConfig
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState
from antiphon.search.batching import batches
from antiphon.search.config import search_config
from antiphon.search.engine import answer, forced_scores
from antiphon.search.requests import Request, SourceInput

SEARCHES = (
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 4},
    {"temperature": 0.9, "n_best": 3, "top_p": 0.9, "seed": 3},
    {"beam_size": 3, "no_repeat_ngram": 2, "repetition_penalty": 1.3, "min_new_tokens": 2},
)


@pytest.mark.parametrize("name", NAMES)
def test_alone_is_in_a_batch(name: str, figures: FigureRecorder) -> None:
    """Batches of 2 to 64 sources; one that is longer by 0 to 64 tokens makes padding for all others."""
    dice, network = random.Random(name), toy(name, max_length=80)
    tried = 0
    while tried < -(-count("padding_and_batch") // len(NAMES)):
        sources = [SourceInput(source_of(dice), row) for row in range(dice.randint(1, 63))]
        longer = max(len(source.ids) for source in sources) + dice.randint(0, 64)
        company = [*sources, SourceInput([*(3 for _ in range(longer - 1)), 2], len(sources))]
        dice.shuffle(company)
        config = GenerationConfig(max_new_tokens=9, batch_size=len(company), **dice.choice(SEARCHES))
        together = dict(zip((source.row for source in company), answer(network, company, config, SPECIAL), strict=True))
        for source in dice.sample(sources, min(3, len(sources))):
            difference = assert_same(together[source.row], answer(network, [source], config, SPECIAL)[0])
            figures.most("difference of a score in float64", difference)
            tried += 1
    figures.add("sentences alone and in batches", tried)


def test_float32_differs_by_ties_alone(figures: FigureRecorder) -> None:
    """An answer that differs is as good as the other one, by scores in float64."""
    exact, dice = toy("rotary", max_length=80), random.Random(0)
    network = copy.deepcopy(exact).float()
    sources = [SourceInput(source_of(dice), row) for row in range(count("padding_and_batch"))]
    config = GenerationConfig(beam_size=4, max_new_tokens=9)
    together = answer(network, [*sources, SourceInput([3] * 70, len(sources))], config, SPECIAL)
    misses = 0
    for source, found in zip(sources, together, strict=False):
        alone = answer(network, [source], config, SPECIAL)[0][0]
        assert alone.rank == pytest.approx(found[0].rank, abs=1e-4)
        if alone.ids != found[0].ids:
            misses += 1
            scores = forced_scores(exact, [(source.ids, alone.ids), (source.ids, found[0].ids)], SPECIAL)
            ranks = [score / len(each.ids) for score, each in zip(scores, (alone, found[0]), strict=True)]
            assert ranks[0] == pytest.approx(ranks[1], abs=1e-5), "no tie"
    assert misses <= len(sources) / 1000
    figures.add("sentences in float32", len(sources))
    figures.add("ties in float32", misses)


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_padding_and_unused_slots_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, dice = toy(name), random.Random(name)
    sources = [source_of(dice) for _ in range(6)]
    config = GenerationConfig(beam_size=3, n_best=3, max_new_tokens=9)
    clean = answer(network, sources, config, SPECIAL)

    def begin(self: EncoderDecoder, memory: Memory, *, width: int, capacity: int) -> DecoderState:
        state = self.decoder.begin(memory, width=width, capacity=capacity)
        for own, _ in state.layers:
            for leaf in own.hypothesis.values():
                leaf.fill_(float("nan"))
        return state

    soiled = copy.deepcopy(network)
    with torch.no_grad():
        soiled.source.table.weight[SPECIAL.pad] = 1e30
    monkeypatch.setattr(EncoderDecoder, "begin", begin)
    assert answer(soiled, sources, config, SPECIAL) == clean


def test_every_request_is_in_one_batch_within_the_bounds() -> None:
    dice, config = random.Random(0), search_config(GenerationConfig(beam_size=4), SPECIAL)
    requests = [Request([3] * dice.randint(1, 900), limit=dice.randint(1, 1000)) for _ in range(400)]
    groups = list(batches(requests, config, vocab_size=8000, batch_size=None))
    assert sorted(place for group in groups for place in group) == list(range(400))
    for group in groups:
        lengths, limits = [len(requests[i].source) for i in group], [requests[i].limit for i in group]
        assert lengths == sorted(lengths, reverse=True)
        assert len(group) == 1 or len(group) * max(lengths) <= 2**14
        assert len(group) == 1 or len(group) * 4 * max(limits) <= 2**16
        assert len(group) * 4 <= 256
    assert [len(group) for group in batches(requests, config, vocab_size=8000, batch_size=150)] == [150, 150, 100]
    assert all(len(group) == 1 for group in batches(requests, config, vocab_size=2**24, batch_size=None))
    assert list(batches([], config, vocab_size=9, batch_size=None)) == []
