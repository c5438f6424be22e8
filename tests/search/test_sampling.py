"""What is drawn, how often, and from which numbers."""

from __future__ import annotations

import math
import random

import pytest
import torch
from search.toys import SPECIAL, assert_same, next_log_p, toy

from antiphon.config import GenerationConfig
from antiphon.search.constants import NEG_INF
from antiphon.search.engine import SourceInput, answer
from antiphon.search.next_token.sampling import HypothesisRandom, TokenSampler

SETTINGS = [
    (1.0, None, None, None),
    (0.7, 3, None, None),
    (1.5, None, 0.6, None),
    (1.0, None, None, 0.3),
    (0.9, 4, 0.8, 0.2),
]


def plain_probabilities(
    scores: list[float], temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> dict[int, float]:
    """The definition: each restriction works on what the ones before it have left, renormalised."""

    def normal(weights: dict[int, float]) -> dict[int, float]:
        return {id: weight / sum(weights.values()) for id, weight in weights.items()}

    left = normal({id: math.exp(score / temperature) for id, score in enumerate(scores) if score > NEG_INF})
    order = sorted(left, key=lambda id: (-left[id], id))
    if top_k is not None:
        order = order[:top_k]
        left = normal({id: left[id] for id in order})
    if top_p is not None:
        count = next(
            n for n in range(1, len(order) + 1) if n == len(order) or sum(left[id] for id in order[:n]) >= top_p
        )
        order = order[:count]
        left = normal({id: left[id] for id in order})
    if min_p is not None:
        left = normal({id: left[id] for id in order if left[id] >= min_p * left[order[0]]})
    return left


@pytest.mark.parametrize("settings", SETTINGS)
def test_weights_are_the_definition(settings: tuple) -> None:
    torch.manual_seed(0)
    scores = (3 * torch.randn(40, 9, dtype=torch.float64)).log_softmax(-1)
    scores[::3, 4] = NEG_INF
    weights, ids = TokenSampler(*settings).weights(scores)
    for row, plain in enumerate(scores.tolist()):
        total = float(weights[row].sum())
        order = range(9) if ids is None else ids[row].tolist()
        found = {id: float(weight) / total for id, weight in zip(order, weights[row], strict=True) if weight > 0}
        assert found == pytest.approx(plain_probabilities(plain, *settings), abs=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
def test_draws_come_as_often_as_they_should(settings: tuple) -> None:
    """Pearson's chi-square over 20,000 draws stays below its 99.99 % point (32 with 8 degrees of freedom)."""
    draws = 20000
    scores = torch.tensor([0.5, -1.0, 2.0, 1.2, NEG_INF, 0.0, 1.9, -3.0, 0.7]).double().log_softmax(-1)
    uniform = HypothesisRandom([7] * draws, torch.arange(draws), width=1).uniform(torch.tensor([3])).flatten()
    drawn = TokenSampler(*settings).draw(scores.expand(draws, -1), uniform).bincount(minlength=9).tolist()
    wanted = plain_probabilities(scores.tolist(), *settings)
    assert all(drawn[id] == 0 for id in range(9) if id not in wanted)
    assert sum((drawn[id] - draws * p) ** 2 / (draws * p) for id, p in wanted.items()) < 35


def test_the_ends_of_the_scale_draw_what_can_be_drawn() -> None:
    scores = torch.tensor([[NEG_INF, 0.0, 1.0, NEG_INF], [NEG_INF, NEG_INF, 0.0, NEG_INF], [NEG_INF] * 4]).double()
    for sampler in (TokenSampler(1.0), TokenSampler(1.0, top_k=3, top_p=1.0, min_p=0.0)):
        for uniform in (0.0, 1 - 2**-53):
            first, second, third = sampler.draw(scores, torch.full((3,), uniform, dtype=torch.float64)).tolist()
            # In the order of the ids 1 comes before 2; sorted, 2 is the more probable one.
            assert first == (1 if (uniform == 0) == (sampler.top_k is None) else 2)
            assert second == 2
            assert 0 <= third < 4, "where nothing can follow, whatever is drawn has score -inf"


def test_numbers_are_uniform_and_independent() -> None:
    """Bins are even, and neighbouring rows, hypotheses, steps and seeds do not go together."""
    rows = torch.arange(4000)
    numbers = HypothesisRandom([0] * len(rows), rows, width=3).uniform(torch.tensor([5]))
    assert numbers.min() >= 0 and numbers.max() < 1
    bins = (numbers.flatten() * 20).long().bincount(minlength=20).double()
    assert float(((bins - 600) ** 2 / 600).sum()) < 50  # 19 degrees of freedom, 99.99 %
    others = {
        "row": numbers[1:, 0],
        "hypothesis": numbers[:-1, 1],
        "step": HypothesisRandom([0] * len(rows), rows, width=3).uniform(torch.tensor([6]))[:-1, 0],
        "seed": HypothesisRandom([1] * len(rows), rows, width=3).uniform(torch.tensor([5]))[:-1, 0],
    }
    for other in others.values():
        together = torch.stack([numbers[:-1, 0], other])
        assert abs(float(torch.corrcoef(together)[0, 1])) < 4 / 4000**0.5


def test_a_sample_depends_on_seed_and_row_alone() -> None:
    network, dice = toy("rotary"), random.Random(0)
    sources = [SourceInput([dice.randrange(3, 13), 7, 2], row) for row in range(20)]
    config = GenerationConfig(temperature=1.0, n_best=2, max_new_tokens=8, seed=4)
    together = answer(network, sources, config, SPECIAL)
    for alone, found in zip(answer(network, sources[::-1], config, SPECIAL)[::-1], together, strict=True):
        assert_same(alone, found)
    same = [SourceInput([5, 2], row) for row in range(20)]
    drawn = [tuple(found[0].ids) for found in answer(network, same, config, SPECIAL)]
    assert len(set(drawn)) > 10, "rows with the same text have samples of their own"
    other_seed = answer(network, same, GenerationConfig(temperature=1.0, max_new_tokens=8, seed=5), SPECIAL)
    assert [tuple(found[0].ids) for found in other_seed] != drawn


def test_sampled_answers_follow_the_model() -> None:
    """First tokens of many samples, against the model's own probabilities."""
    network, source, draws = toy("grouped"), [4, 9, 2], 3000
    config = GenerationConfig(temperature=1.0, max_new_tokens=1, batch_size=draws)
    found = answer(network, [SourceInput(source, row) for row in range(draws)], config, SPECIAL)
    log_p = next_log_p(network, source, [[]])[0]
    possible = sum(math.exp(value) for value in log_p[2:])  # padding and the start token are never said
    statistic = 0.0
    for id, value in enumerate(log_p[2:], start=2):
        wanted = draws * math.exp(value) / possible
        statistic += (sum(hypotheses[0].ids == [id] for hypotheses in found) - wanted) ** 2 / wanted
    assert statistic < 40  # 10 degrees of freedom, 99.99 %: 35.6
    for hypotheses in found[:50]:
        assert hypotheses[0].score == pytest.approx(log_p[hypotheses[0].ids[0]], abs=1e-10)


def test_samples_of_one_source_are_different_ones() -> None:
    config = GenerationConfig(temperature=0.3, n_best=30, max_new_tokens=3)
    found = answer(toy("paper"), [[5, 6, 2]], config, SPECIAL)[0]
    assert len({tuple(hypothesis.ids) for hypothesis in found}) == len(found) < 30
    assert [hypothesis.rank for hypothesis in found] == sorted((h.rank for h in found), reverse=True)
