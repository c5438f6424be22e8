"""Cached search = the same search from whole rows (acceptance row 27), and what a search may not do."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from counts import count
from search.toys import NAMES, SPECIAL, VOCABULARY, assert_same, next_log_p, penalty, plain_search, source_of, toy
from torch import Tensor
from torture.figures import FigureRecorder

from antiphon.batch import Example, Tokens, collate
from antiphon.config import GenerationConfig
from antiphon.errors import NonFiniteError
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState
from antiphon.search.engine import SourceInput, answer, forced_scores, stream

KINDS = {
    "greedy": {"beam_size": 1},
    "beam 2": {"beam_size": 2, "n_best": 2},
    "beam 4": {"beam_size": 4, "n_best": 4},
    "beam 8": {"beam_size": 8, "n_best": 3, "length_penalty": 0.6, "length_penalty_kind": "gnmt"},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [*KINDS, "forced prefix"])
def test_cached_is_full(kind: str, name: str, figures: FigureRecorder) -> None:
    """Each input is answered with a cache, many in a batch, and without one, alone, by plain lists."""
    dice, network = random.Random(f"{kind} {name}"), toy(name)
    config = GenerationConfig(max_new_tokens=10, **KINDS.get(kind, {"beam_size": 3, "n_best": 3}))
    sources = [
        SourceInput(source_of(dice), row, prefix=_prefix(dice) if kind == "forced prefix" else ())
        for row in range(-(-count("cached_is_full") // len(NAMES)))
    ]
    for source, found in zip(sources, answer(network, sources, config, SPECIAL), strict=True):
        difference = assert_same(found, plain_search(network, source.ids, config, prefix=source.prefix))
        figures.most("difference of a score in float64", difference)
    figures.add(f"inputs with {kind}", len(sources))


def _prefix(dice: random.Random) -> tuple[int, ...]:
    return tuple(dice.randrange(3, VOCABULARY) for _ in range(dice.randint(0, 4)))


SETTINGS = [
    {"no_repeat_ngram": 1},
    {"no_repeat_ngram": 2, "beam_size": 1},
    {"no_repeat_ngram": 3, "n_best": 4},
    {"repetition_penalty": 1.7, "n_best": 2},
    {"repetition_penalty": 0.6, "beam_size": 1},
    {"min_new_tokens": 5, "n_best": 3},
    {"min_new_tokens": 12, "max_new_tokens": 12},
    {"length_penalty": 0.0},
    {"length_penalty": 2.5, "n_best": 4},
    {"length_penalty": -1.0},
    {"length_penalty": 1.5, "length_penalty_kind": "gnmt"},
    {"max_new_tokens": 1, "n_best": 4},
    {"max_new_tokens": 2, "beam_size": 5, "n_best": 5},
    {"no_repeat_ngram": 2, "repetition_penalty": 1.2, "min_new_tokens": 3, "beam_size": 6, "n_best": 6},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_are_what_plain_python_says(settings: dict[str, object]) -> None:
    """The processors, the penalties and the early stop, against a search by lists that never stops early."""
    dice = random.Random(str(settings))
    config = GenerationConfig(**{"max_new_tokens": 12, **settings})
    sources = [SourceInput(source_of(dice), row, prefix=_prefix(dice) if row % 2 else ()) for row in range(6)]
    network = toy("rotary", seed=dice.randrange(4))
    for source, found in zip(sources, answer(network, sources, config, SPECIAL), strict=True):
        assert_same(found, plain_search(network, source.ids, config, prefix=source.prefix))


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_the_penalty_of_a_published_checkpoint_is_that_of_its_library(beam_size: int, factor: float) -> None:
    """Where the decoder starts from the end (BART), the end counts as said; a beam scales log-probabilities."""
    network, dice = toy("rotary", seed=3), random.Random(beam_size)
    config = GenerationConfig(beam_size=beam_size, max_new_tokens=12, repetition_penalty=factor)
    sources = [SourceInput(source_of(dice), row) for row in range(8)]
    answers: list[list[float]] = []
    for published in (False, True):
        special_tokens = replace(SPECIAL, start=SPECIAL.end, published=published)
        found = answer(network, sources, config, special_tokens)
        for source, hypotheses in zip(sources, found, strict=True):
            assert_same(
                hypotheses,
                plain_search(network, source.ids, config, special_tokens=special_tokens, forbidden=(SPECIAL.pad,)),
            )
        answers.append([hypotheses[0].rank for hypotheses in found])
    assert answers[0] != answers[1], "the test needs searches that differ"


@pytest.mark.parametrize("settings", [{}, {"length_penalty": 0.4}, {"length_penalty_kind": "gnmt"}, {"beam_groups": 2}])
def test_a_prefix_is_in_the_score_and_not_in_the_rank(settings: dict[str, object]) -> None:
    """What is forced is not chosen: its price would be spread over longer answers, and let these win."""
    network, dice = toy("alibi", seed=1), random.Random(7)
    config = GenerationConfig(**{"beam_size": 4, "n_best": 4, "max_new_tokens": 10, **settings})
    prefix = (5, 9, 11)
    for row in range(5):
        source = SourceInput(source_of(dice), row, prefix=prefix)
        price = forced_scores(network, [(source.ids, list(prefix))], SPECIAL)[0]
        for found in answer(network, [source], config, SPECIAL)[0]:
            assert tuple(found.ids[:3]) == prefix
            assert found.score == pytest.approx(forced_scores(network, [(source.ids, found.ids)], SPECIAL)[0], abs=1e-9)
            chosen = (found.score - price) / penalty(config, len(found.ids) - 3)
            assert found.rank == pytest.approx(chosen, abs=1e-9)


@pytest.mark.parametrize("patience", [0.25, 1.0, 2.0])
def test_patience_ends_a_beam_when_so_many_have_ended(patience: float) -> None:
    """The answer is the best of the hypotheses that had ended by then; with much patience it is the exact one."""
    dice, sooner = random.Random(str(patience)), 0
    config = {"beam_size": 4, "n_best": 1, "max_new_tokens": 14}
    for seed in range(count("patience")):
        network, source = toy("rotary", seed=seed), source_of(dice)
        exact = answer(network, [source], GenerationConfig(**config), SPECIAL)[0][0]
        patient = answer(network, [source], GenerationConfig(**config, patience=100.0), SPECIAL)[0][0]
        assert patient == exact
        early = answer(network, [source], GenerationConfig(**config, patience=patience), SPECIAL)[0][0]
        assert early.rank <= exact.rank and (early.finished or len(early.ids) == 14)
        sooner += early.rank < exact.rank
        many = answer(network, [source], GenerationConfig(**{**config, "n_best": 4}, patience=patience), SPECIAL)[0]
        assert len(many) == len(answer(network, [source], GenerationConfig(**{**config, "n_best": 4}), SPECIAL)[0])
    assert sooner > 0 or patience > 1


@pytest.mark.parametrize("prefix", [(), (5, 9)])
@pytest.mark.parametrize("power", [-0.5, 0.7, 2.0])
def test_no_search_stops_too_early(power: float, prefix: tuple[int, ...]) -> None:
    """The best answer is that of a search up to the limit, whether the penalty favours short answers or long ones."""
    early, config = 0, GenerationConfig(beam_size=8, length_penalty=power, max_new_tokens=12)
    for seed in range(80 - count("early_stops"), 80):  # of the last ones some stop early under every penalty
        network, dice = toy("window", seed=seed), random.Random(seed)
        source = source_of(dice)
        runs: list[object] = []
        with pytest.MonkeyPatch.context() as patch:
            decode = network.decode
            patch.setattr(network, "decode", lambda *rest, ask=decode, runs=runs: runs.append(1) or ask(*rest))
            found = answer(network, [SourceInput(source, 0, prefix=prefix)], config, SPECIAL)[0]
        assert_same(found, plain_search(network, source, config, prefix=prefix))
        early += len(runs) < 12
    assert early, "the test needs searches that stop before the limit"


def test_the_default_limit_is_a_function_of_the_source() -> None:
    network = toy("paper", max_length=64)
    sources = [[5, 2], [5, 6, 7, 8, 2]]
    config = GenerationConfig(beam_size=1, min_new_tokens=30)
    for source, found in zip(sources, answer(network, sources, config, SPECIAL), strict=True):
        assert_same(found, plain_search(network, source, config))
        assert len(found[0].ids) <= min(64, 2 * len(source) + 32)


def test_where_nothing_may_follow_the_hypotheses_as_they_stand_are_the_answer() -> None:
    network = toy("alibi", vocabulary=5)
    config = GenerationConfig(beam_size=2, n_best=2, no_repeat_ngram=1, min_new_tokens=8)
    found = answer(network, [[3, 2]], config, SPECIAL)[0]
    assert sorted(hypothesis.ids for hypothesis in found) == [[3, 4], [4, 3]]  # ids 0 to 2 are never or not yet said
    assert not any(hypothesis.finished for hypothesis in found)
    assert_same(found, plain_search(network, [3, 2], config))


@pytest.mark.parametrize("beam_size", [1, 3])
def test_sources_leave_the_batch_as_soon_as_they_are_finished(beam_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that the decoder computes are those of the open sources, and the memory's keys are computed once."""
    network, dice = toy("window"), random.Random(1)
    sources, config = [source_of(dice) for _ in range(12)], GenerationConfig(beam_size=beam_size, max_new_tokens=15)
    rows: list[int] = []
    begun: list[int] = []
    begin, decode = network.begin, network.decode

    def recording(ids: Tensor, tokens: Tokens, memory: Memory, state: DecoderState) -> object:
        assert memory.hidden.shape[0] * beam_size == ids.shape[0]
        rows.append(ids.shape[0])
        return decode(ids, tokens, memory, state)

    monkeypatch.setattr(network, "decode", recording)
    monkeypatch.setattr(network, "begin", lambda *rest, **named: begun.append(1) or begin(*rest, **named))
    together = answer(network, sources, config, SPECIAL)
    assert len(begun) == 1
    seen, rows[:] = rows[:], []
    steps = []
    for source in sources:
        rows.clear()
        assert answer(network, [source], config, SPECIAL)[0][0].ids == together[sources.index(source)][0].ids
        steps.append(len(rows))
    expected = [beam_size * sum(length > step for length in steps) for step in range(max(steps))]
    assert len(set(steps)) > 1
    assert seen == expected


def test_greedy_search_never_reorders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.nn.state.DecoderState.reorder", lambda *_: pytest.fail("a cache was copied"))
    answer(toy("rotary"), [[5, 6, 2], [7, 2]], GenerationConfig(beam_size=1, max_new_tokens=8), SPECIAL)
    answer(toy("rotary"), [[5, 2]], GenerationConfig(temperature=1.0, n_best=4, max_new_tokens=8), SPECIAL)


@pytest.mark.parametrize("beam_size", [1, 2, 4, 8])
def test_streamed_ids_are_never_taken_back(beam_size: int) -> None:
    dice, early = random.Random(beam_size), 0
    for name in NAMES:
        power = dice.choice([1.0, 0.5, -0.5])
        config = GenerationConfig(beam_size=beam_size, max_new_tokens=12, no_repeat_ngram=3, length_penalty=power)
        source = SourceInput(source_of(dice), 0, prefix=_prefix(dice))
        runs = list(stream(toy(name), source, config, SPECIAL))
        assert [id for run in runs for id in run] == answer(toy(name), [source], config, SPECIAL)[0][0].ids
        early += len(runs) > 1
        if beam_size == 1:
            assert all(len(run) == 1 for run in runs[1:]), "a greedy search is certain of each token at once"
    assert early > len(NAMES) / 2, "the stream must not wait for the end"


def test_forced_scores_are_the_sums_of_single_steps() -> None:
    network, source, target = toy("relative"), [5, 9, 4, 2], [7, 7, 3, 2]
    steps = [next_log_p(network, source, [target[:i]])[0][target[i]] for i in range(4)]
    found = forced_scores(network, [(source, target), ([3, 2], [2]), (source, target[:1])], SPECIAL)
    assert found[0] == pytest.approx(sum(steps), abs=1e-10)
    assert found[2] == pytest.approx(steps[0], abs=1e-10)
    assert found[1] == pytest.approx(next_log_p(network, [3, 2], [[]])[0][2], abs=1e-10)


def test_a_network_that_gives_nan_is_an_error() -> None:
    network = toy("paper", seed=99)
    with torch.no_grad():
        network.output.weight[4] = float("nan")
    for settings in ({"beam_size": 1}, {"beam_size": 4}, {"temperature": 1.0}):
        with pytest.raises(NonFiniteError, match="NaN"):
            answer(network, [[5, 2], [6, 2]], GenerationConfig(max_new_tokens=5, **settings), SPECIAL)


def test_the_mode_of_the_network_is_put_back() -> None:
    """A search in the midst of training: no dropout within, dropout and gradients after."""
    network = toy("rotary", seed=5)
    alone = answer(network, [[5, 6, 2]], GenerationConfig(max_new_tokens=6), SPECIAL)
    network.train()
    assert answer(network, [[5, 6, 2]], GenerationConfig(max_new_tokens=6), SPECIAL) == alone
    assert network.training and network.decoder.layers[0].training
    batch = collate([Example([5, 6, 2], [7, 2], 0)], pad_id=0, start_id=1)
    network(batch, lambda logits, labels: logits.sum()).backward()
    network.eval()
