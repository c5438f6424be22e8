"""Requests that come and go: the answer to each is that of a search of its own, whatever is beside it."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from counts import count
from runtime.garbage import quick_collections  # noqa: F401  a fixture
from runtime.test_stepper import NAMES, network_of
from search.toys import SPECIAL, source_of, toy

from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.constraints.trie import TrieConstraint
from antiphon.errors import NonFiniteError
from antiphon.generation.quantize import quantize
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.runtime.kernels.compiler import why_not
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.stepper import DecodeStepper
from antiphon.search import running
from antiphon.search.engine import add_source, answer
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.requests import SourceInput
from antiphon.search.running import SearchEngine, SearchJob

SETTINGS: tuple[dict[str, Any], ...] = (
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 3},
    {"beam_size": 4, "beam_groups": 2, "diversity_penalty": 0.5, "n_best": 2},
    {"beam_size": 3, "min_new_tokens": 3, "length_penalty": 0.6},
    {"beam_size": 2, "no_repeat_ngram": 2, "repetition_penalty": 1.3},
    {"temperature": 0.9, "top_p": 0.9, "n_best": 2},
    {"beam_size": 1, "patience": 1.0},
    {"beam_size": 3, "coverage_penalty": 0.2},
)
Asked = tuple[SourceInput, GenerationConfig]


def asked(dice: random.Random, row: int, *, size: int) -> Asked:
    """A random request: its source, prefix and constraint, and its settings."""
    settings: dict[str, Any] = dict(dice.choice(SETTINGS))
    if "temperature" in settings:
        settings["seed"] = dice.randint(0, 5)
    config = GenerationConfig(max_new_tokens=dice.randint(6, 12), **settings)
    prefix = tuple(dice.randint(3, 9) for _ in range(dice.choice([0, 0, 1, 3])))
    restriction = None
    if dice.random() < 0.2:
        ways = [[*prefix, *(dice.randint(3, 9) for _ in range(2)), SPECIAL.end] for _ in range(4)]
        restriction = TrieConstraint(ways, end=SPECIAL.end, size=size)
    return SourceInput(source_of(dice), row, prefix=prefix, restriction=restriction), config


def alone(runtime: Runtime, one: Asked) -> list[Hypothesis]:
    return answer(runtime, [one[0]], one[1], SPECIAL)[0]


def run(
    network: EncoderDecoder, requests: list[Asked], dice: random.Random, *, cancels: float = 0.0
) -> dict[int, SearchJob]:
    """Put `requests` into one engine at random steps, stream half of them, and take some back."""
    engine, jobs = SearchEngine(network, stays=True), {}
    waiting, streamed = list(requests), {}
    while waiting or engine.busy:
        for _ in range(dice.choice([0, 0, 0, 1, 2, 7])):
            if waiting:
                source, config = waiting.pop(0)
                jobs[source.row] = add_source(engine, source, config, SPECIAL, streams=source.row % 2 == 0)
                streamed[jobs[source.row]] = []
        if jobs and dice.random() < cancels:
            row = dice.choice(list(jobs))
            engine.cancel(jobs.pop(row))
        for result in engine.step():
            assert result.error is None and result.job in jobs.values()
            streamed[result.job] += result.ids
    for job in jobs.values():
        assert job.hypotheses is not None and streamed[job] == job.hypotheses[0].ids
    assert not any(group.jobs for group in engine._groups) and not engine._waiting
    return jobs


@pytest.mark.skipif(why_not() is not None, reason=f"no kernels: {why_not()}")
@pytest.mark.parametrize("name", ["paper", "grouped", "window", "relative", "sinks", "alternating"])
def test_in_int8_every_answer_is_that_of_a_search_alone_bit_by_bit(name: str) -> None:
    dice, network = random.Random(name), copy.deepcopy(network_of(name, seed=3))
    quantize(network)
    requests = [asked(dice, row, size=network.vocab_size) for row in range(count("running"))]
    runtime = Runtime(network)  # one trial for all that are alone
    for row, job in run(network, requests, dice).items():
        assert job.hypotheses == alone(runtime, requests[row]), (row, requests[row])


@pytest.mark.parametrize("name", NAMES)
def test_in_float32_every_answer_is_that_of_a_search_alone(name: str) -> None:
    dice, network = random.Random(name), network_of(name, seed=3)
    requests = [asked(dice, row, size=network.vocab_size) for row in range(count("running") // 4)]
    runtime = Runtime(network)  # one trial for all that are alone
    for row, job in run(network, requests, dice).items():
        for mine, theirs in zip(job.hypotheses or [], alone(runtime, requests[row]), strict=True):
            assert mine.ids == theirs.ids and mine.score == pytest.approx(theirs.score, abs=1e-4)


@pytest.mark.parametrize("name", ["paper", "relative"])
def test_without_kernels_every_answer_is_that_of_a_search_alone(name: str) -> None:
    """In float64 no step is recorded, and no request joins another one."""
    dice, network = random.Random(name), toy(name)
    requests = [asked(dice, row, size=network.vocab_size) for row in range(count("running") // 2)]
    runtime = Runtime(network)  # one trial for all that are alone
    for row, job in run(network, requests, dice).items():
        for mine, theirs in zip(job.hypotheses or [], alone(runtime, requests[row]), strict=True):
            assert mine.ids == theirs.ids and mine.score == pytest.approx(theirs.score, abs=1e-10)


def test_requests_that_are_taken_back_change_no_other_answer() -> None:
    dice, network = random.Random(0), network_of("rotary", seed=3)
    requests = [asked(dice, row, size=network.vocab_size) for row in range(count("running"))]
    left = run(network, requests, dice, cancels=0.2)
    assert 5 < len(left) < len(requests)
    runtime = Runtime(network)  # one trial for all that are alone
    for row, job in left.items():
        for mine, theirs in zip(job.hypotheses or [], alone(runtime, requests[row]), strict=True):
            assert mine.ids == theirs.ids


@pytest.mark.skipif(why_not() is not None, reason=f"no kernels: {why_not()}")
def test_a_request_that_is_taken_back_leaves_before_the_next_step() -> None:
    engine = SearchEngine(network_of("rotary", seed=3), stays=True)
    config = GenerationConfig(beam_size=1, min_new_tokens=20, max_new_tokens=25)
    jobs = [add_source(engine, SourceInput([5, 6, 2], row), config, SPECIAL) for row in range(3)]
    engine.step()
    engine.cancel(jobs[1])
    engine.step()
    (group,) = engine._groups
    assert len(group.search.open) == group.search.stepper.sources == 2


def test_groups_take_turns() -> None:
    """A short request with its own settings does not wait for a long one."""
    engine = SearchEngine(network_of("rotary", seed=3), stays=True)
    long = GenerationConfig(beam_size=1, min_new_tokens=25, max_new_tokens=30)
    first = add_source(engine, SourceInput([5, 6, 2], 0), long, SPECIAL)
    for _ in range(3):
        engine.step()
    short = add_source(engine, SourceInput([5, 2], 1), GenerationConfig(beam_size=2, max_new_tokens=2), SPECIAL)
    for _ in range(6):
        engine.step()
    assert short.hypotheses is not None and first.hypotheses is None


def test_with_more_settings_than_groups_nobody_waits_for_ever() -> None:
    engine = SearchEngine(network_of("rotary", seed=3), stays=True)
    late, steps = [], 0
    for beams in range(1, 2 * running.MAX_GROUPS):
        for row in range(3):
            config = GenerationConfig(beam_size=beams, max_new_tokens=9)
            late.append(add_source(engine, SourceInput([5, 6, 2], row), config, SPECIAL))
    while engine.busy:
        if steps < 40:  # more and more of the first kind
            add_source(engine, SourceInput([7, 2], 9), GenerationConfig(beam_size=1, max_new_tokens=9), SPECIAL)
        engine.step()
        steps += 1
        assert steps < 400 and len(engine._groups) <= running.MAX_GROUPS
    assert all(job.hypotheses is not None for job in late)


def test_an_error_ends_the_requests_of_its_group_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SearchEngine(network_of("rotary", seed=3), stays=True)
    good = add_source(engine, SourceInput([5, 6, 2], 0), GenerationConfig(beam_size=1, max_new_tokens=9), SPECIAL)
    bad = add_source(engine, SourceInput([5, 6, 2], 0), GenerationConfig(beam_size=2, max_new_tokens=9), SPECIAL)
    step, failed = running.SearchGroup.step, []

    def broken(self: running.SearchGroup) -> list[running.JobResult]:
        if bad in self.jobs.values():
            raise RuntimeError("a cable is loose")
        return step(self)

    monkeypatch.setattr(running.SearchGroup, "step", broken)
    while engine.busy:
        failed += [result for result in engine.step() if result.error is not None]
    assert [(each.job, str(each.error)) for each in failed] == [(bad, "a cable is loose")]
    assert good.hypotheses is not None


def test_a_network_that_gives_nan_is_the_error_of_its_requests() -> None:
    network = copy.deepcopy(network_of("rotary", seed=3))
    with torch.no_grad():
        network.output.weight.fill_(float("nan"))
    engine, errors = SearchEngine(network, stays=True), []
    for row in range(3):
        add_source(engine, SourceInput([5, 6, 2], row), GenerationConfig(max_new_tokens=5), SPECIAL)
    while engine.busy:
        errors += [result.error for result in engine.step()]
    assert len(errors) == 3 and all(isinstance(error, NonFiniteError) for error in errors)


@pytest.mark.skipif(why_not() is not None, reason=f"no kernels: {why_not()}")
@pytest.mark.usefixtures("quick_collections")
def test_memory_that_runs_out_makes_smaller_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the sources that were too many had joined: the group has fewer places the next time."""
    network, config = network_of("rotary", seed=3), GenerationConfig(beam_size=1, max_new_tokens=9)
    step = DecodeStepper.step

    def small(self: DecodeStepper, ids: torch.Tensor, place: int | torch.Tensor) -> None:
        if ids.numel() > 6:
            raise MemoryError
        step(self, ids, place)

    monkeypatch.setattr(DecodeStepper, "step", small)
    engine, jobs, steps = SearchEngine(network, stays=True), [], 0
    jobs.append(add_source(engine, SourceInput([5, 6, 2], 0), config, SPECIAL))
    engine.step()
    jobs += [add_source(engine, SourceInput([5, row % 9 + 3, 2], row), config, SPECIAL) for row in range(1, 30)]
    with pytest.warns(UserWarning, match="memory ran out"):
        while engine.busy:
            assert all(result.error is None for result in engine.step())
            steps += 1
            assert steps < 500
    monkeypatch.undo()
    runtime = Runtime(network)  # one trial for all that are alone
    for row, job in enumerate(jobs):
        source = [5, 6, 2] if row == 0 else [5, row % 9 + 3, 2]
        assert [each.ids for each in job.hypotheses or []] == [
            each.ids for each in answer(runtime, [source], config, SPECIAL)[0]
        ]


def test_in_int8_a_source_table_may_be_smaller_than_the_targets() -> None:
    """The trial of the encoder takes ids that the source has."""
    model = ModelConfig("tiny", d_model=16, ffn_dim=24, num_heads=2, tie_embeddings=False, max_length=40)
    network = build_network(model, AttentionConfig(), source_vocab=9, target_vocab=90, shared=False, seed=1).eval()
    quantize(network)
    sources = [[5, 6, 2], [7, 2]]
    together = answer(network, sources, GenerationConfig(max_new_tokens=5), SPECIAL)
    assert together == [answer(network, [each], GenerationConfig(max_new_tokens=5), SPECIAL)[0] for each in sources]
