"""Diverse beam search and the coverage penalty against definitions in plain Python."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from counts import count
from search.toys import (
    NAMES,
    SPECIAL,
    assert_same,
    encoded,
    log_softmax,
    next_logits,
    penalty,
    plain_search,
    source_of,
    toy,
)

from antiphon.batch import Tokens
from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.search.engine import SourceInput, answer, stream
from antiphon.search.hypotheses import Hypothesis


def plain_diverse(network: EncoderDecoder, source: list[int], config: GenerationConfig) -> list[Hypothesis]:
    """Groups of lists, one after the other at each step; never stops before the limit."""
    size, limit, memory = config.beam_size // config.beam_groups, config.max_new_tokens or 1, encoded(network, source)
    groups: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in range(config.beam_groups)]
    ended: dict[tuple[int, ...], float] = {}
    for length in range(limit):
        said: Counter[int] = Counter()
        rows = [ids for group in groups for _, ids in group]
        logits = iter(next_logits(network, memory, rows) if rows else [])
        for number, group in enumerate(groups):
            if not group:
                continue
            candidates = []
            for lane, (value, ids) in enumerate(group):
                for token, gain in enumerate(log_softmax(next(logits))):
                    if token not in (SPECIAL.pad, SPECIAL.start):
                        steered = value + gain - config.diversity_penalty * said[token]
                        candidates.append((-steered, lane, token, value + gain, [*ids, token]))
            candidates.sort(key=lambda candidate: candidate[:3])
            going = []
            for rank, (_, _, token, value, ids) in enumerate(candidates[: 2 * size if size > 1 else 1]):
                if token == SPECIAL.end:
                    if rank < size:
                        ended[tuple(ids)] = value
                elif len(going) < size:
                    going.append((value, ids))
            said.update(ids[length] for _, ids in going)
            groups[number] = going
    for group in groups:
        ended |= {tuple(ids): value for value, ids in group}
    found = [
        Hypothesis(list(ids), value, value / penalty(config, len(ids)), ids[-1] == SPECIAL.end)
        for ids, value in ended.items()
    ]
    return sorted(found, key=lambda hypothesis: -hypothesis.rank)[: config.n_best]


@pytest.mark.parametrize(("beam_size", "groups"), [(4, 2), (3, 3), (6, 2), (6, 3)])
def test_groups_are_what_plain_python_says(beam_size: int, groups: int) -> None:
    for number, name in enumerate(NAMES):
        dice = random.Random(name)
        config = GenerationConfig(
            beam_size=beam_size, beam_groups=groups, diversity_penalty=dice.choice([0.0, 0.4, 2.0]),
            n_best=beam_size // groups, max_new_tokens=8, length_penalty=dice.choice([0.0, 1.0]),
        )  # fmt: skip
        sources = [SourceInput(source_of(dice), row) for row in range(count("diverse_sources"))]
        for source, found in zip(sources, answer(toy(name, seed=number), sources, config, SPECIAL), strict=True):
            assert_same(found, plain_diverse(toy(name, seed=number), source.ids, config))


def test_one_group_is_the_beam_and_a_penalty_makes_answers_differ() -> None:
    dice, network = random.Random(0), toy("rotary")
    sources = [source_of(dice) for _ in range(6)]
    plain = {"beam_size": 6, "n_best": 6, "max_new_tokens": 9}
    assert answer(network, sources, GenerationConfig(**plain, beam_groups=1), SPECIAL) == answer(
        network, sources, GenerationConfig(**plain), SPECIAL
    )
    first = [
        len(
            {
                row.ids[0]
                for rows in answer(network, sources, GenerationConfig(**plain, **more), SPECIAL)
                for row in rows
            }
        )
        for more in ({}, {"beam_groups": 6, "diversity_penalty": 20.0})
    ]
    assert first[1] > first[0]
    for settings in ({"beam_groups": 4}, {"diversity_penalty": 1.0}, {"beam_groups": 2, "temperature": 1.0}):
        with pytest.raises(ConfigError, match=r"beam_groups|diversity_penalty"):
            GenerationConfig(beam_size=6, **settings)


@torch.no_grad()
def covered(network: EncoderDecoder, source: list[int], rows: list[list[int]]) -> list[float]:
    """Of each of `rows`, all of one length: the sum over source positions of log(min(attention, 1)), from whole rows,
    the weights by hooks."""
    weights: list[torch.Tensor] = []
    crosses = [layer.cross for layer in network.decoder.layers]
    for cross in crosses:
        begin = cross.begin

        def recorded(*rest, begin=begin, **named):
            state = begin(*rest, **named)
            state.record = weights
            return state

        cross.begin = recorded
    network.decode(
        torch.tensor([[SPECIAL.start, *ids[:-1]] for ids in rows]),
        Tokens(torch.arange(len(rows[0]))[None]),
        encoded(network, source).select(torch.zeros(len(rows), dtype=torch.long)),
        None,
    )
    for cross in crosses:
        del cross.begin
    assert len(weights) == len(crosses)
    return torch.stack(weights).mean(0).mean(1).sum(1).clamp(1e-6, 1).log().sum(1).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_coverage_is_in_the_rank_and_the_search_waits_for_it(name: str) -> None:
    """The pool of a search that never stops, ranked with the penalty from whole rows."""
    dice, network = random.Random(name), toy(name)
    sources = [SourceInput(source_of(dice), row) for row in range(count("covered_sources"))]
    for beta, beam_size in ((0.2, 3), (2.0, 1), (2.0, 4)):
        config = GenerationConfig(beam_size=beam_size, max_new_tokens=9, coverage_penalty=beta)
        free = GenerationConfig(beam_size=beam_size, n_best=beam_size, max_new_tokens=9)
        for source, found in zip(sources, answer(network, sources, config, SPECIAL), strict=True):
            every = plain_search(network, source.ids, free, all_ended=True)
            gains: dict[tuple[int, ...], float] = {}
            for length in {len(h.ids) for h in every}:
                rows = [h.ids for h in every if len(h.ids) == length]
                gains |= zip(map(tuple, rows), covered(network, source.ids, rows), strict=True)
            ranks = [h.rank + beta * gains[tuple(h.ids)] for h in every]
            best = max(range(len(every)), key=ranks.__getitem__)
            assert found[0].ids == every[best].ids
            assert found[0].rank == pytest.approx(ranks[best], abs=1e-8)
            assert found[0].score == pytest.approx(every[best].score, abs=1e-8)
            assert answer(network, [source], config, SPECIAL)[0][0].ids == found[0].ids
            assert [id for run in stream(network, source, config, SPECIAL) for id in run] == found[0].ids


def test_a_mixer_without_weights_is_refused_by_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    network = toy("paper")
    monkeypatch.setattr("antiphon.nn.attention.attend", lambda q, k, v, scores, **_: torch.zeros_like(q))
    with pytest.raises(ConfigError, match="`coverage_penalty` needs attention weights of the role cross"):
        answer(network, [[5, 2]], GenerationConfig(coverage_penalty=0.2), SPECIAL)
