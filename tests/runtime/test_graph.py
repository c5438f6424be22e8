"""A captured step = the network's own code: with a stand-in for the graph, and on a GPU where there is one."""

from __future__ import annotations

import random

import pytest
import torch
from runtime.noted import Noted, graphs  # noqa: F401  a fixture
from runtime.test_stepper import KINDS, Counting, Peeking, PeekingRule, keep, network_of
from search.toys import MODELS, SPECIAL, source_of, toy

from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.generation.ensemble import Ensemble
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Mixer
from antiphon.nn.rules import ScoreRule
from antiphon.runtime import graph as captured
from antiphon.runtime.graph import GraphStep, GraphTopK
from antiphon.runtime.inference import as_rows, evaluating
from antiphon.runtime.policy import make_stepper, step_kind
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.step import TopKRequest
from antiphon.runtime.stepper import DecodeStepper
from antiphon.search.constants import NEG_INF
from antiphon.search.engine import SourceInput, answer

NAMES = [*KINDS, *(name for name in MODELS if name not in KINDS)]
SIZE = 150


def wide(name: str) -> EncoderDecoder:
    return network_of(name).double()


def stepper_of(
    network: EncoderDecoder | Runtime, rows: list[list[int]], *, records: bool | None, width: int = 3
) -> DecodeStepper:
    runtime = Runtime.of(network)
    ids, tokens = as_rows(rows, runtime.network.device)
    wanted, memory = TopKRequest(2 * width, (0, 1)), runtime.network.encode(ids, tokens)
    return make_stepper(runtime, memory, width=width, capacity=12, wanted=wanted, records=records)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("many", [0, 64], ids=["shrinks", "keeps its rows"])
def test_a_captured_step_is_the_networks_own(
    name: str,
    many: int,
    graphs: list[Noted],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where hypotheses change places, where sources leave, where fewer rows are captured again, and where the end
    is held back."""
    monkeypatch.setattr(captured, "SHRINK_FROM_ROWS", many)
    check_steps(wide(name), name, tolerance=1e-10)
    first = graphs[0]
    assert first.warmed == 1 and len(first.calls) > 20
    assert sum(graph.warmed + graph.replayed for graph in graphs) == 10 and len(graphs) == (2 if many == 0 else 1)


def check_steps(network: EncoderDecoder, name: str, *, tolerance: float) -> None:
    """Ten steps, plain and captured."""
    dice, width = random.Random(name), 3
    rows = [source_of(dice) for _ in range(5)]
    with evaluating(network):
        plain, again = (stepper_of(network, rows, records=records) for records in (False, True))
        left, order = list(range(5)), list(range(5))  # which source stands where, in each
        for place in range(10):
            ids = torch.randint(3, SIZE, (5, width), generator=torch.Generator().manual_seed(place)).to(network.device)
            plain.step(ids[left].flatten(), place)
            again.step(ids[order].flatten(), place)
            at = torch.tensor([order.index(source) for source in left], device=network.device)
            mine, own = again.logits.view(len(order), width, -1)[at], plain.logits.view(len(left), width, -1)
            torch.testing.assert_close(mine, own, rtol=tolerance, atol=tolerance)
            assert again.best is not None
            values, found = (part.view(len(order), width, -1)[at] for part in again.best)
            allowed = own.log_softmax(-1).clone()
            allowed[:, :, [0, 1]] = NEG_INF
            torch.testing.assert_close(values, allowed.topk(2 * width).values, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(values, allowed.gather(2, found), rtol=tolerance, atol=tolerance)
            if place % 3 == 1:
                choices = torch.randint(0, width, (5, width), generator=torch.Generator().manual_seed(place))
                for stepper, there in ((plain, left), (again, order)):
                    base = torch.arange(len(there))[:, None] * width
                    stepper.state.reorder((choices[there] + base).flatten().to(network.device))
            if place in (0, 2, 5):
                gone = dice.choice(left)
                left, order = (keep(stepper, there, gone) for stepper, there in ((plain, left), (again, order)))
                assert sorted(left) == sorted(order)


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_is_captured(name: str, graphs: list[Noted]) -> None:  # noqa: F811
    """No built-in attention falls back to the network's own code."""
    network = wide(name)
    with evaluating(network):
        assert step_kind(Runtime(network), network.encode(*as_rows([[5, 6, SPECIAL.end]], network.device)))
    assert [graph.replayed for graph in graphs] == [3]


SEARCHES: list[dict[str, object]] = [
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 3},
    {"beam_size": 3, "min_new_tokens": 4},
    {"beam_size": 4, "beam_groups": 2, "diversity_penalty": 0.5, "n_best": 2},
    {"beam_size": 2, "repetition_penalty": 1.3},
    {"temperature": 1.0, "seed": 3},
]


def both_ways(network: EncoderDecoder | Runtime, sources: list[SourceInput], config: GenerationConfig) -> None:
    """Answers of captured steps and of plain ones, token by token."""
    fast = answer(network, sources, config, SPECIAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captured, "usable", lambda hidden: False)
        slow = answer(network, sources, config, SPECIAL)
    for mine, theirs in zip(fast, slow, strict=True):
        assert [answer.ids for answer in mine] == [answer.ids for answer in theirs]
        assert [answer.score for answer in mine] == pytest.approx([answer.score for answer in theirs], abs=1e-10)


@pytest.mark.parametrize("settings", SEARCHES, ids=str)
@pytest.mark.parametrize("name", ["rotary", "grouped", "window", "relative", "additive"])
def test_answers_are_those_of_the_networks_own_code(
    name: str,
    settings: dict[str, object],
    graphs: list[Noted],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(captured, "SHRINK_FROM_ROWS", 8)
    dice = random.Random(name)
    both_ways(toy(name), [SourceInput(source_of(dice), row) for row in range(14)], config_of(settings))
    assert sum(graph.replayed for graph in graphs[1:]) > 6  # the first one is that of the trial


def config_of(settings: dict[str, object]) -> GenerationConfig:
    return GenerationConfig(**{"max_new_tokens": 12, "batch_size": 9, **settings})


def test_prefixes_and_ensembles_are_captured_too(graphs: list[Noted]) -> None:  # noqa: F811
    dice = random.Random(1)
    sources = [SourceInput(source_of(dice), row, prefix=(4, 5, 6)[: 1 + row % 3]) for row in range(6)]
    network = Ensemble([toy("rotary"), toy("learned", seed=1)])
    both_ways(network, sources, config_of({"beam_size": 3}))
    assert graphs[1].replayed > 2


@pytest.mark.parametrize("kind", [Peeking, Counting, PeekingRule])
def test_what_cannot_be_captured_is_computed_by_its_own_code(
    kind: type[Mixer] | type[ScoreRule],
    graphs: list[Noted],  # noqa: F811
) -> None:
    """It is tried once; what looks at a value is not even tried to be captured, since a failed capture leaves marks."""
    model = ModelConfig("tiny", d_model=16, ffn_dim=24, num_heads=2, max_length=40, positions="sinusoidal")
    network = build_network(
        model, AttentionConfig(decoder=kind()), source_vocab=SIZE, target_vocab=SIZE, shared=False, seed=0
    ).eval()
    runtime = Runtime(network)
    both_ways(runtime, [SourceInput([5, 6, 2], 0), SourceInput([7, 8, 9, 2], 1)], config_of({"beam_size": 2}))
    assert len(graphs) == 1 and bool(graphs[0].calls) == (kind is Counting)
    with evaluating(network):
        assert not step_kind(runtime, network.encode(*as_rows([[5, 6, 2]], network.device)))
    assert len(graphs) == 1


@pytest.mark.parametrize("words", ["operation not permitted when stream is capturing", "CUDA out of memory"])
def test_a_capture_that_fails_later_changes_no_answer(
    words: str,
    graphs: list[Noted],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At rows of another number than those that it was tried with: by the network's own code; but memory that ran out
    is for those who cut the batch."""
    network, rows = wide("rotary"), [[5, 6, 2], [7, 8, 2], [9, 2]]
    with evaluating(network):
        runtime = Runtime(network)
        assert step_kind(runtime, network.encode(*as_rows(rows, network.device)))
        plain, again = (stepper_of(runtime, rows, records=records) for records in (False, None))

        def fail(graph: Noted, work: object) -> None:
            raise RuntimeError(words)

        monkeypatch.setattr(Noted, "capture", fail)
        ids = torch.arange(9) + 5
        for stepper in (plain, again):
            stepper.step(ids, 0)
            stepper.keep(torch.tensor([0, 2]))
        order = torch.tensor([0, 1, 2, 6, 7, 8])
        plain.step(ids[order], 1)
        if "memory" in words:
            with pytest.raises(RuntimeError, match="out of memory"):
                again.step(ids[order], 1)
            return
        again.step(ids[order], 1)
        torch.testing.assert_close(again.logits, plain.logits, rtol=1e-10, atol=1e-10)
        assert not step_kind(runtime, network.encode(*as_rows(rows, network.device)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_best_ids_are_those_of_a_stable_sort(dtype: torch.dtype) -> None:
    """Among equals the lower id; also below zero, at zero, and where hardly any id is allowed."""
    dice = torch.Generator().manual_seed(0)
    logits = (torch.randn(40, 30, generator=dice) * 4).round().to(dtype)
    logits[0] = 0.0
    logits[1, 3:] = NEG_INF
    for never in ((0, 1), (0, 1, 2)):
        values, ids = GraphTopK(TopKRequest(6, never), 30, torch.device("cpu")).best(logits)
        allowed = (logits if dtype == torch.float64 else logits.float()).log_softmax(-1)
        allowed[:, list(never)] = NEG_INF
        expected = allowed.sort(dim=1, descending=True, stable=True)
        assert torch.equal(ids, expected.indices[:, :6]) and torch.equal(values, expected.values[:, :6])


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real graph: each kind is captured, and gives what the network's own code gives."""
    monkeypatch.setattr(captured, "SHRINK_FROM_ROWS", 0)
    network = network_of(name).to("cuda", dtype)
    with evaluating(network):
        stepper = stepper_of(network, [[5, 6, SPECIAL.end], [7, SPECIAL.end]], records=None)
        stepper.step(torch.arange(6, device="cuda") + 5, 0)
        assert isinstance(stepper.current, GraphStep)
    check_steps(network, name, tolerance=1e-4 if dtype == torch.float32 else 5e-2)
    sources = [SourceInput(source_of(random.Random(row)), row) for row in range(12)]
    found = answer(network, sources, config_of({"beam_size": 4}), SPECIAL)
    assert all(hypotheses[0].ids for hypotheses in found)
