"""A step that was written down = the network's own code; and how much work a step is."""

from __future__ import annotations

import ctypes
import random

import pytest
import torch
from counts import count
from runtime.noted import pytorch_only
from search.toys import MODELS, SPECIAL, source_of

from antiphon.batch import Tokens
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.generation.quantize import quantize
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Mixer
from antiphon.nn.rules import ScoreRule
from antiphon.nn.state import State
from antiphon.runtime import policy
from antiphon.runtime.inference import as_rows, evaluating
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.kernels.compiler import library, why_not
from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.policy import make_stepper, step_kind
from antiphon.runtime.recorded import RecordedStep
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.step import TopKRequest
from antiphon.runtime.stepper import DecodeStepper
from antiphon.search.engine import SourceInput, answer

SIZE = 150
KINDS: dict[str, dict[str, object]] = {
    "full": {},
    "window": {"encoder": {"window": 3}, "decoder": {"window": 3}},
    "window with sinks": {"decoder": {"window": {"window": 3, "sinks": 1}}},
    "block_local": {"decoder": {"block_local": {"size": 2, "neighbours": 1, "global_tokens": 1}}},
    "prefix_lm": {"cross": {"prefix_lm": 2}},
    "alternating": {"decoder": ["full", {"all": ["alibi", {"window": 2}]}]},
    **{
        name: {"decoder": name, "cross": name}
        for name in ("alibi", "relative", "shaw", "soft_cap", "qk_norm", "temperature", "cosine", "sinks", "inverse_d")
    },
    **{name: {"decoder": name, "cross": name} for name in ("additive", "sigmoid", "differential")},
    **{name: {"decoder": name} for name in ("linear", "delta")},
}
SETTINGS = {"soft_cap": {"soft_cap": 30}}

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no kernels: {why_not()}")


def network_of(name: str, *, seed: int = 0) -> EncoderDecoder:
    """A float32 network of a shape in `MODELS`, or of a kind in `KINDS`."""
    plain = {"positions": "sinusoidal", "activation": "relu", "decoder_layers": 2, "num_heads": 2, "encoder_layers": 1}
    settings = {**plain, **MODELS.get(name, {})}
    chosen = KINDS.get(name, {}).items()
    kind = {role: SETTINGS.get(entry, entry) if isinstance(entry, str) else entry for role, entry in chosen}
    model = ModelConfig("tiny", d_model=16, ffn_dim=24, tie_embeddings=False, max_length=40, **settings)
    attention = AttentionConfig(**kind)
    network = build_network(model, attention, source_vocab=SIZE, target_vocab=SIZE, shared=False, seed=seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.7)
        network.output.weight[SPECIAL.end] *= 1.8
    return network.eval()


NAMES = [*KINDS, *(name for name in MODELS if name not in KINDS)]


def stepper_of(network: EncoderDecoder, sources: list[list[int]], *, records: bool, width: int = 3) -> DecodeStepper:
    ids, tokens = as_rows(sources, network.device)
    wanted = TopKRequest(2 * width, (0, 1))
    return make_stepper(
        Runtime.of(network), network.encode(ids, tokens), width=width, capacity=12, wanted=wanted, records=records
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sources", [7, 2], ids=["many", "few"])
def test_a_written_step_is_the_networks_own(name: str, sources: int) -> None:
    """Also where hypotheses change places, where sources leave, and where the end is held back."""
    dice = random.Random(name)
    network, width = network_of(name), 3
    rows = [source_of(dice) for _ in range(sources)]
    with evaluating(network):
        plain, again = (stepper_of(network, rows, records=records) for records in (False, True))
        left, order = list(range(sources)), list(range(sources))  # which source stands where, in each
        for place in range(10):
            ids = torch.randint(3, SIZE, (len(rows), width), generator=torch.Generator().manual_seed(place))
            plain.step(ids[left].flatten(), place)
            again.step(ids[order].flatten(), place)
            at = torch.tensor([order.index(source) for source in left])
            mine, own = again.logits.view(len(order), width, -1)[at], plain.logits.view(len(left), width, -1)
            torch.testing.assert_close(mine, own, rtol=1e-4, atol=1e-4)
            assert again.best is not None
            values, found = (part.view(len(order), width, -1)[at] for part in again.best)
            allowed = own.log_softmax(-1).clone()
            allowed[:, :, [0, 1]] = float("-inf")
            torch.testing.assert_close(values, allowed.topk(2 * width).values, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(values, allowed.gather(2, found), rtol=1e-4, atol=1e-4)
            if place % 3 == 1:
                choices = torch.randint(0, width, (len(rows), width), generator=torch.Generator().manual_seed(place))
                for stepper, there in ((plain, left), (again, order)):
                    base = torch.arange(len(there))[:, None] * width
                    stepper.state.reorder((choices[there] + base).flatten())
            if place in (2, 5, 7) and len(left) > 1:
                gone = dice.choice(left)
                left, order = (keep(stepper, there, gone) for stepper, there in ((plain, left), (again, order)))
                assert sorted(left) == sorted(order)


def keep(stepper: DecodeStepper, there: list[int], gone: int) -> list[int]:
    """Which source stands where after `gone` has left."""
    places = [place for place, source in enumerate(there) if source != gone]
    staying = torch.tensor(places, device=stepper.memory.hidden.device)
    return [there[place] for place in stepper.keep(staying).tolist()]


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_is_written_down(name: str) -> None:
    """No built-in attention drops to the slow way; what has no kernel is still run."""
    network = network_of(name)
    with evaluating(network):
        memory = network.encode(*as_rows([[5, 6, SPECIAL.end]], network.device))
        assert step_kind(Runtime(network), memory)


SEARCHES = [{"beam_size": 1}, {"beam_size": 4, "n_best": 3}, {"beam_size": 3, "min_new_tokens": 4}]


@pytest.mark.parametrize("settings", SEARCHES, ids=str)
def test_answers_are_those_of_the_slow_way(settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(str(settings))
    network, config = network_of("rotary", seed=3), GenerationConfig(max_new_tokens=12, **settings)
    sources = [SourceInput(source_of(dice), row) for row in range(40)]
    fast = answer(network, sources, config, SPECIAL)
    again = answer(network, sources, config, SPECIAL)
    runtime = Runtime(network)  # one trial for all
    alone = [answer(runtime, [source], config, SPECIAL)[0] for source in sources]
    monkeypatch.setattr(policy, "step_kind", lambda runtime, memory: None)
    pytorch_only(monkeypatch)
    calls: list[object] = []
    do = kernels.do
    monkeypatch.setattr(kernels, "do", lambda *given, **named: calls.append(given[0]) or do(*given, **named))
    slow = answer(network, sources, config, SPECIAL)
    assert calls == [], "the slow way must run no kernel"
    for each, other in ((fast, slow), (again, slow), (alone, slow)):
        for mine, theirs in zip(each, other, strict=True):
            assert [answer.ids for answer in mine] == [answer.ids for answer in theirs]
            assert [answer.score for answer in mine] == pytest.approx([answer.score for answer in theirs], abs=1e-4)


@pytest.mark.parametrize("settings", [{"beam_size": 1}, {"beam_size": 4, "n_best": 3}], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_source_that_joins_is_as_if_alone(
    name: str, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots of finished sources are filled again, whatever stands beside them and whatever was there before."""
    dice, joined = random.Random(str(settings)), []
    network = network_of(name, seed=3)
    with torch.no_grad():
        network.output.weight[SPECIAL.end] *= {"shaw": 2, "delta": 2, "differential": 1, "alternating": 1}.get(name, 5)
    config = GenerationConfig(max_new_tokens=12, batch_size=9, **settings)
    sources = [SourceInput(source_of(dice), row) for row in range(count("joined_sources"))]
    join = DecodeStepper.join
    monkeypatch.setattr(
        DecodeStepper, "join", lambda self, state, number: (joined.append(number), join(self, state, number))
    )
    together = answer(network, sources, config, SPECIAL)
    assert sum(joined) == len(sources) - 9 + 1  # one of them in the trial
    runtime = Runtime(network)  # one trial for all
    alone = [answer(runtime, [source], config, SPECIAL)[0] for source in sources]
    for mine, theirs in zip(together, alone, strict=True):
        assert [answer.ids for answer in mine] == [answer.ids for answer in theirs]
        assert [answer.score for answer in mine] == pytest.approx([answer.score for answer in theirs], abs=1e-4)
    assert len({len(answers[0].ids) for answers in together}) > 1


@pytest.mark.parametrize("settings", [{"no_repeat_ngram": 2}, {"min_new_tokens": 6}], ids=str)
def test_processors_see_the_tokens_of_each_source_alone(settings: dict[str, object]) -> None:
    """Sources that join have fewer tokens than those beside them."""
    dice, network = random.Random(str(settings)), network_of("full", seed=3)
    with torch.no_grad():
        network.output.weight[SPECIAL.end] *= 5 if "min_new_tokens" in settings else 2
    config = GenerationConfig(max_new_tokens=12, batch_size=5, beam_size=1, **settings)
    sources = [SourceInput(source_of(dice), row) for row in range(20)]
    together, runtime = answer(network, sources, config, SPECIAL), Runtime(network)
    alone = [answer(runtime, [source], config, SPECIAL)[0] for source in sources]
    assert [[each.ids for each in found] for found in together] == [[each.ids for each in found] for found in alone]
    assert len({len(answers[0].ids) for answers in together}) > 1


CHANGES = {
    "copied": lambda weight: weight.copy_(weight.flip(0)),
    "trained": lambda weight: None,
    "behind autograd's back": lambda weight: weight.data.copy_(weight.flip(0)),
}


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("how", CHANGES)
def test_a_changed_weight_is_seen_at_once(how: str, settled: bool) -> None:
    """Neither packed weights nor what a batch of the same shape left are used with other weights; fused optimizers
    change them without a word."""
    network, config = network_of("full", seed=1), GenerationConfig(beam_size=2, max_new_tokens=8)
    network.frozen = settled  # as one that was loaded, until `train` is called
    before = answer(network, [[5, 6, 7, SPECIAL.end]], config, SPECIAL)[0][0]
    with torch.no_grad():
        CHANGES[how](network.output.weight)
    if how == "trained":
        network.train()
        assert not network.frozen
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.3, fused=True)
        ids, tokens = as_rows([[5, 6, 7, SPECIAL.end]], network.device)
        hidden, _ = network.decode(ids, tokens, network.encode(ids, tokens), None)
        network.logits(hidden).square().sum().backward()
        optimizer.step()
        network.eval()
    after = answer(network, [[5, 6, 7, SPECIAL.end]], config, SPECIAL)[0][0]
    assert before.score != after.score
    fresh = network_of("full", seed=1)
    fresh.load_state_dict(network.state_dict())
    assert answer(fresh, [[5, 6, 7, SPECIAL.end]], config, SPECIAL)[0][0] == after


class Peeking(Mixer):
    """Sums what came before; its code looks at a value, so that it cannot be written down."""

    def setup(self, *, d_model: int, **_: object) -> None:
        self.weight = torch.nn.Parameter(torch.eye(d_model))

    def begin(self, rows, capacity, memory=None):
        return State(hypothesis={"sum": torch.zeros(rows, self.weight.shape[0])})

    def forward(self, x, tokens, state):
        if state is None:
            return x.cumsum(1) @ self.weight, None
        total = state.hypothesis["sum"][:, None] + x.cumsum(1)
        state.hypothesis["sum"].copy_(total[:, -1])
        return (total @ self.weight if float(total.sum()) > -1e30 else total), state


class Counting(Peeking):
    """The same, but that it counts its steps in Python: run again as it was written down, it would be wrong."""

    def begin(self, rows, capacity, memory=None):
        state = super().begin(rows, capacity, memory)
        state.steps = 0
        return state

    def forward(self, x, tokens, state):
        if state is None:
            return x.cumsum(1) @ self.weight, None
        total = state.hypothesis["sum"][:, None] + x.cumsum(1)
        state.hypothesis["sum"].copy_(total[:, -1])
        state.steps += 1
        return total @ self.weight * state.steps, state


class PeekingRule(ScoreRule):
    """A rule whose code looks at a position."""

    additive = True

    def score(self, score, batch, head, q_pos, k_pos):
        return score - 0.1 * (q_pos - k_pos).abs() if int(q_pos.max()) > 2 else score


@pytest.mark.parametrize("kind", [Peeking, Counting, PeekingRule])
def test_what_cannot_be_written_down_is_computed_by_its_own_code(kind: type[Mixer] | type[ScoreRule]) -> None:
    model = ModelConfig("tiny", d_model=16, ffn_dim=24, num_heads=2, max_length=40, positions="sinusoidal")
    attention = AttentionConfig(decoder=kind())
    network = build_network(model, attention, source_vocab=SIZE, target_vocab=SIZE, shared=False, seed=0).eval()
    with evaluating(network):
        assert not step_kind(Runtime(network), network.encode(*as_rows([[5, 6, 2]], network.device)))
    found = answer(network, [[5, 6, 2], [7, 8, 9, 2]], GenerationConfig(beam_size=2, max_new_tokens=6), SPECIAL)
    assert all(len(hypotheses) == 1 for hypotheses in found)


class HeadFirst(Mixer):
    """Computes with heads before rows, of which there are as many as sources."""

    def setup(self, *, d_model: int, **_: object) -> None:
        self.weight = torch.nn.Parameter(torch.eye(d_model) + 0.1)

    def begin(self, rows, capacity, memory=None):
        return State(hypothesis={"none": torch.zeros(rows, 1)})

    def forward(self, x, tokens, state):
        heads = (x @ self.weight).unflatten(-1, (4, -1)).permute(2, 0, 1, 3).contiguous()  # (4, R, L, D/4)
        heads = torch.relu(heads * 0.5 + heads)  # of kernels, in that order of memory
        return heads.permute(1, 2, 0, 3).flatten(2), state


def test_rows_are_those_of_the_memory_and_not_of_a_number_that_happens_to_be_equal() -> None:
    model = ModelConfig("tiny", d_model=16, ffn_dim=24, num_heads=2, max_length=40, positions="sinusoidal")
    attention = AttentionConfig(decoder=HeadFirst())
    network = build_network(model, attention, source_vocab=SIZE, target_vocab=SIZE, shared=False, seed=0).eval()
    with evaluating(network):
        plain, again = (stepper_of(network, [[5, 6, 2]] * 4, records=records) for records in (False, True))
        for place, left in enumerate((4, 4, 3, 1)):
            ids = torch.arange(left * 3).add(7 * place + 3).remainder(SIZE)
            for stepper in (plain, again):
                if left < stepper.sources:
                    stepper.keep(torch.arange(left))
                stepper.step(ids, place)
            torch.testing.assert_close(again.logits, plain.logits, rtol=1e-4, atol=1e-4)


def written_down(network: EncoderDecoder, *, width: int, sources: int) -> RecordedStep:
    with evaluating(network):
        stepper = stepper_of(network, [[5, 6, 7, SPECIAL.end]] * sources, records=True, width=width)
        stepper.step(torch.full((sources * width,), 5), 0)
        assert isinstance(stepper.current, RecordedStep)
        return stepper.current


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_step_does_no_more_than_it_must(kind: str) -> None:
    """Products of matrices, passes over memory and operations without a kernel: a change that adds one fails here."""
    network = network_of("full")
    if kind == "int8":
        quantize(network)
    program = written_down(network, width=4, sources=5).program
    layers, product = 2, "linear_int8" if kind == "int8" else "linear_float"
    # q, k, v and o of the own tokens, q and o across, up and down; the output table chooses its best at once.
    assert program.kernels.count(product) == 8 * layers
    assert program.kernels.count("output") == 1 and program.kernels.count("top") == 0
    assert program.kernels.count("attend") == 2 * layers
    assert program.kernels.count("put") == 2 * layers  # keys across are made once a source
    assert program.kernels.count("norm") == 3 * layers + 1
    # Sums and activations are done by the products.
    assert program.kernels.count("add") == program.kernels.count("activate") == 0
    assert program.calls == 0
    products = [
        kernel.step.n[0] for kernel in program._kept[1] if isinstance(kernel, KernelCall) and kernel.name == product
    ]
    assert set(products) == {5 * 4}
    program.run(2)  # with fewer sources, each has less to do
    sizes = [made.n[0] for made, _ in program._scaled]
    assert sizes.count(2 * 4) >= len(products) and 5 * 4 not in sizes
    once = [entry for entry in program._kept[1] if isinstance(entry, KernelCall) and entry.step.n[6] == 1]
    assert len([entry for entry in once if entry.name == "linear_int8"]) == (2 * layers if kind == "int8" else 0)


def test_no_step_is_taken_when_all_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    network, taken = network_of("full", seed=6), []
    with evaluating(network):
        runtime = Runtime(network)
        step_kind(runtime, network.encode(*as_rows([[5, SPECIAL.end]], network.device)))  # tried once, with steps
        network.output.weight[SPECIAL.end] *= 3
    step = DecodeStepper.step

    def counted(self: DecodeStepper, ids: torch.Tensor, place: int) -> None:
        taken.append(ids.numel())
        step(self, ids, place)

    monkeypatch.setattr(DecodeStepper, "step", counted)
    dice = random.Random(1)
    sources = [source_of(dice) for _ in range(12)]
    found = answer(runtime, sources, GenerationConfig(beam_size=1, max_new_tokens=15), SPECIAL)
    lengths = [len(hypotheses[0].ids) for hypotheses in found]
    # A row is computed once for each token of its answer: the first one follows the start, the last one is not read.
    assert sum(taken) == sum(lengths) and len(taken) == max(lengths) and len(set(lengths)) > 1


@pytest.mark.parametrize("records", [False, True])
def test_a_beam_copies_no_more_than_it_must(records: bool) -> None:
    """Bytes that `reorder` moves: the rows that change, as far as they are filled; under a written step none at all."""
    network = network_of("full")
    found = library()
    assert found is not None
    found.bytes_moved.restype = ctypes.c_int64
    with evaluating(network):
        stepper = stepper_of(network, [[5, 6, 2], [7, 8, 2]], records=records, width=3)
        for place in range(4):
            stepper.step(torch.full((6,), 5), place)
        before = found.bytes_moved()
        stepper.state.reorder(torch.arange(6))
        assert found.bytes_moved() == before
        stepper.state.reorder(torch.tensor([0, 0, 2, 3, 4, 5]))  # one row of 4 tokens, keys and values of 2 layers
        assert found.bytes_moved() - before == (0 if records else 4 * 16 * 4 * 2 * 2)


def test_whole_prefixes_come_before_written_steps() -> None:
    """A forced prefix is read at once by the network's code, and what follows is run as written."""
    network, config = network_of("alibi", seed=2), GenerationConfig(beam_size=2, max_new_tokens=8)
    sources = [
        SourceInput([5, 6, 7, SPECIAL.end], 0, prefix=(8, 9)),
        SourceInput([5, 9, SPECIAL.end], 1, prefix=(4, 3)),
    ]
    found = answer(network, sources, config, SPECIAL)
    assert [hypotheses[0].ids[:2] for hypotheses in found] == [[8, 9], [4, 3]]
    with evaluating(network):
        one = network.encode(*as_rows([[5, 6, 7, SPECIAL.end]], network.device))
        ids = torch.tensor([[SPECIAL.start, *found[0][0].ids[:-1]]])
        hidden, _ = network.decode(ids, Tokens(torch.arange(ids.shape[1])[None]), one, None)
        log_p = network.logits(hidden)[0].log_softmax(-1)
    own = sum(float(log_p[i, id]) for i, id in enumerate(found[0][0].ids))
    assert found[0][0].score == pytest.approx(own, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_step_needs_no_longer_shares_memory(name: str) -> None:
    """Whatever stands there before a run, NaN in every number say, changes nothing; and it is less than all of it."""
    network, ids = network_of(name), torch.arange(12)
    rows = [source_of(random.Random(place)) for place in range(4)]
    with evaluating(network):
        plain, again = (stepper_of(network, rows, records=True) for _ in range(2))
        for place in range(6):
            if place and isinstance(again.current, RecordedStep):
                arena = again.current.program._kept[0]
                arena.fill_(255)
            if place == 3:
                for stepper in (plain, again):
                    stepper.keep(torch.tensor([0, 2]))
            for stepper in (plain, again):
                stepper.step(ids[: 3 * stepper.sources] + place + 3, place)
            assert torch.equal(plain.logits, again.logits)
        assert isinstance(again.current, RecordedStep)
        arena, steps = again.current.program._kept
    products = [entry.step for entry in steps if isinstance(entry, KernelCall) and entry.name == "linear_float"]
    assert len(products) > 4 and 0 < arena.nbytes < sum(step.n[0] * step.n[2] * 4 for step in products)


@pytest.mark.parametrize("beam_size", [1, 2])
def test_a_source_that_ends_behind_the_prefix_leaves_a_program_for_fewer(beam_size: int) -> None:
    """It ends before a step is written down: what is left for the next batch is for the sources that remained."""
    network, config = network_of("full", seed=2), GenerationConfig(beam_size=beam_size, max_new_tokens=8)
    network.frozen, dice = True, random.Random(0)
    with torch.no_grad():
        network.output.weight[SPECIAL.end] *= 5
    ids = [[dice.randrange(3, SIZE) for _ in range(4)] + [SPECIAL.end] for _ in range(200)]
    sources = [SourceInput(each, row, prefix=(dice.randrange(3, SIZE), 6)) for row, each in enumerate(ids)]
    short: list[tuple[SourceInput, list[int]]] = []  # with the answers alone, each by a runtime of its own
    long: list[tuple[SourceInput, list[int]]] = []
    for source in sources:
        alone = answer(network, [source], config, SPECIAL)[0][0].ids
        (short if len(alone) == 3 else long).append((source, alone))
        if len(short) > 3 and len(long) > 3:
            break
    assert len(short) > 3 and len(long) > 3
    runtime = Runtime(network)
    for (one, first), (other, second) in zip(short[:4], long[:4], strict=True):
        found = answer(runtime, [one, other], config, SPECIAL)
        assert [hypotheses[0].ids for hypotheses in found] == [first, second]
