"""A beam as wide as the tree of all answers finds the best one (acceptance row 29)."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from counts import parts
from search.toys import NAMES, SPECIAL, next_log_p, toy
from torture.figures import FigureRecorder

from antiphon.models.seq2seq import EncoderDecoder
from antiphon.search.beam_search import Search
from antiphon.search.config import SearchConfig
from antiphon.search.engine import forced_scores
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.requests import Request

SIZES = [(3, 6), (4, 5), (5, 4), (6, 3), (3, 4), (4, 3), (3, 1), (6, 2)]  # vocabulary, longest answer
PENALTIES = [(1.0, "average"), (0.0, "average"), (0.4, "gnmt"), (2.0, "gnmt"), (-0.7, "average"), (1.3, "average")]


def search(
    network: EncoderDecoder, source: list[int], limit: int, config: SearchConfig, prefix: tuple[int, ...] = ()
) -> list[Hypothesis]:
    running = Search(network, [Request(source, len(prefix) + limit, list(prefix))], config)
    while running.open:
        for _, hypotheses in running.step():
            return hypotheses
    raise AssertionError("no answer")


def every_answer(
    network: EncoderDecoder, source: list[int], limit: int, config: SearchConfig
) -> list[tuple[float, float, list[int]]]:
    """All answers with their rank and score, best first: those that end, and those cut at the limit."""
    going = [id for id in range(network.vocab_size) if id != SPECIAL.end]
    answers = [[*ids, SPECIAL.end] for n in range(limit) for ids in itertools.product(going, repeat=n)]
    answers += [list(ids) for ids in itertools.product(going, repeat=limit)]
    scores = forced_scores(network, [(source, ids) for ids in answers], SPECIAL)
    ranked = [(score / config.length_divisor(len(ids)), score, ids) for score, ids in zip(scores, answers, strict=True)]
    return sorted(ranked, key=lambda entry: -entry[0])


def model(number: int) -> tuple[EncoderDecoder, list[int], int, SearchConfig]:
    """A random model, a source, a limit, and a config whose beam can hold every hypothesis."""
    dice = random.Random(number)
    vocabulary, limit = dice.choice(SIZES)
    power, kind = dice.choice(PENALTIES)
    network = toy(dice.choice(NAMES), seed=number, vocabulary=vocabulary, d_model=8)
    width = vocabulary * (vocabulary - 1) ** (limit - 1)
    config = SearchConfig(
        SPECIAL, width=width, n_best=min(dice.choice([1, 2, 20]), width), length_penalty=power, length_penalty_kind=kind
    )
    return network, [dice.randrange(vocabulary) for _ in range(dice.randint(1, 4))], limit, config


@pytest.mark.parametrize("numbers", parts("beam_oracle"))
def test_full_width_beam_is_exhaustive_search(numbers: range, figures: FigureRecorder) -> None:
    for number in numbers:
        network, source, limit, config = model(number)
        found, expected = search(network, source, limit, config), every_answer(network, source, limit, config)
        assert [hypothesis.ids for hypothesis in found] == [ids for _, _, ids in expected[: config.n_best]], number
        for hypothesis, (rank, score, ids) in zip(found, expected, strict=False):
            assert math.isclose(hypothesis.score, score, abs_tol=1e-6)
            figures.most("difference from forced rescoring", abs(hypothesis.score - score))
            assert math.isclose(hypothesis.rank, rank, abs_tol=1e-6)
            assert hypothesis.finished == (ids[-1] == SPECIAL.end)
    figures.add("models searched exhaustively", len(numbers))


@pytest.mark.parametrize("numbers", parts("beam_oracle"))
def test_full_width_beam_behind_a_prefix_is_exhaustive_search(numbers: range, figures: FigureRecorder) -> None:
    """The bound at which a search stops is exact where a prefix is forced: nothing that could win is given up."""
    for number in numbers:
        network, source, limit, config = model(number)
        prefix = tuple(
            random.Random(number).choices([id for id in range(network.vocab_size) if id != SPECIAL.end], k=2)
        )
        going = [id for id in range(network.vocab_size) if id != SPECIAL.end]
        answers = [[*ids, SPECIAL.end] for n in range(limit) for ids in itertools.product(going, repeat=n)]
        answers += [list(ids) for ids in itertools.product(going, repeat=limit)]
        pairs = [(source, [*prefix, *ids]) for ids in answers]
        price = forced_scores(network, [(source, list(prefix))], SPECIAL)[0]
        scores = forced_scores(network, pairs, SPECIAL)
        ranked = sorted(
            ((score - price) / config.length_divisor(len(ids)), [*prefix, *ids])
            for score, ids in zip(scores, answers, strict=True)
        )[::-1]
        found = search(network, source, limit, config, prefix)
        assert [hypothesis.ids for hypothesis in found] == [ids for _, ids in ranked[: config.n_best]], number
        for hypothesis, (rank, _) in zip(found, ranked, strict=False):
            assert math.isclose(hypothesis.rank, rank, abs_tol=1e-6)
    figures.add("models searched behind a prefix", len(numbers))


@pytest.mark.parametrize("numbers", parts("beam_oracle"))
def test_n_best_is_sorted_unique_and_rescored_alike(numbers: range, figures: FigureRecorder) -> None:
    for number in numbers:
        network, source, limit, _ = model(number)
        width = (1, 2, 3, 5)[number % 4]
        found = search(network, source, limit, SearchConfig(SPECIAL, width=width, n_best=width))
        ranks = [hypothesis.rank for hypothesis in found]
        assert ranks == sorted(ranks, reverse=True)
        assert len({tuple(hypothesis.ids) for hypothesis in found}) == len(found) <= width
        rescored = forced_scores(network, [(source, hypothesis.ids) for hypothesis in found], SPECIAL)
        assert [hypothesis.score for hypothesis in found] == pytest.approx(rescored, abs=1e-6)
    figures.add("n-best lists", len(numbers))


@pytest.mark.parametrize("numbers", parts("beam_oracle"))
def test_beam_of_one_is_greedy(numbers: range, figures: FigureRecorder) -> None:
    for number in numbers:
        network, source, limit, _ = model(number)
        ids: list[int] = []
        while len(ids) < limit and ids[-1:] != [SPECIAL.end]:
            log_p = next_log_p(network, source, [ids])[0]
            ids = [*ids, log_p.index(max(log_p))]
        assert [hypothesis.ids for hypothesis in search(network, source, limit, SearchConfig(SPECIAL))] == [ids]
    figures.add("beams of one", len(numbers))
