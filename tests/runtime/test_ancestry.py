"""Histories that are read through ancestry = histories that are copied."""

from __future__ import annotations

import random

import pytest
import torch
from runtime.test_stepper import KINDS, network_of, stepper_of
from search.toys import SPECIAL, source_of

from antiphon.config import GenerationConfig
from antiphon.nn.cache import KeyValueCache, SlotTable
from antiphon.runtime.ancestry import materialize
from antiphon.runtime.inference import evaluating
from antiphon.runtime.kernels.compiler import why_not
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.stepper import DecodeStepper
from antiphon.search.engine import answer

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no kernels: {why_not()}")

WIDTH, STEPS = 3, 12
TRACED = ("full", "alibi", "sinks", "temperature", "cosine", "alternating", "grouped", "rotary")


def slot_table_of(stepper: DecodeStepper) -> SlotTable | None:
    for cache, _ in stepper.state.layers:
        if type(cache) is KeyValueCache:
            assert isinstance(cache.common, SlotTable)
            return cache.common
    return None


def swaps(dice: random.Random, sources: int) -> torch.Tensor:
    """Each hypothesis goes on from any of its source."""
    return torch.tensor([source * WIDTH + dice.randrange(WIDTH) for source in range(sources) for _ in range(WIDTH)])


@pytest.mark.parametrize("name", [*dict.fromkeys([*TRACED, *KINDS])])
def test_histories_read_by_ancestry_are_copies(name: str) -> None:
    """Random reorderings at each step, and a source that leaves between: the same logits as the network's own code,
    whose caches are copied; settled, the same keys and values."""
    network, dice = network_of(name, seed=3), random.Random(name)
    sources = [source_of(dice) for _ in range(4)]
    with evaluating(network):
        plain, traced = (stepper_of(network, sources, records=records, width=WIDTH) for records in (False, True))
        count = len(sources)
        for place in range(STEPS):
            ids = torch.tensor([dice.randrange(3, network.vocab_size) for _ in range(count * WIDTH)])
            for stepper in (plain, traced):
                stepper.step(ids, place)
            assert torch.allclose(traced.logits, plain.logits, rtol=0, atol=3e-5 * float(plain.logits.abs().max()))
            index = swaps(dice, count)
            for stepper in (plain, traced):
                stepper.state.reorder(index)
            if place == STEPS // 2:
                staying, count = torch.tensor([0, 1, 3]), 3
                order = traced.keep(staying)
                plain.keep(order)
        slot_table = slot_table_of(traced)
        if name in TRACED:
            assert (
                slot_table is not None
                and slot_table.ancestry is not None
                and not bool((slot_table.ancestry == slot_table.ancestry[0]).all())
            )
        materialize(traced.state)
        assert slot_table is None or slot_table.ancestry is None
        for mine, theirs in zip(traced.state.layers, plain.state.layers, strict=True):
            if type(mine[0]) is KeyValueCache:
                for leaf, other in zip(mine[0].hypothesis.values(), theirs[0].hypothesis.values(), strict=True):
                    assert torch.allclose(leaf[: count * WIDTH, :, :STEPS], other[:, :, :STEPS], atol=1e-4)


@pytest.mark.parametrize("name", TRACED)
def test_beams_over_ancestry(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole search, sources that join and a program that the next batch takes up included, answers as without."""
    network, dice = network_of(name, seed=5), random.Random(7)
    sources = [source_of(dice) for _ in range(17)]
    config = GenerationConfig(beam_size=3, n_best=3, max_new_tokens=12, batch_size=5)
    found = []
    for traced in (True, False):
        if not traced:
            monkeypatch.setattr("antiphon.runtime.recorded.use_ancestry", lambda *_: None)
        found.append(answer(network, sources, config, SPECIAL))
        runtime = Runtime(network)  # one trial for all
        found.append([answer(runtime, [each], config, SPECIAL)[0] for each in sources])
        network = network_of(name, seed=5)
    first, *others = [[[h.ids for h in hypotheses] for hypotheses in answers] for answers in found]
    for other in others:
        assert other == first


class Own(KeyValueCache):
    """A cache of somebody's own, which shares the others' slot_table."""


def test_a_cache_of_ones_own_is_copied() -> None:
    """Its rows are moved, and so are those of the caches that share its slot_table."""
    network = network_of("full")
    with evaluating(network):
        plain, own = (stepper_of(network, [[5, 6, 2]], records=records, width=WIDTH) for records in (False, True))
        own.state.layers[0][0].__class__ = Own
        for place in range(4):
            ids, index = torch.tensor([5, 9, 7 + place]), torch.tensor([2, 0, 2])
            for stepper in (plain, own):
                stepper.step(ids, place)
                stepper.state.reorder(index)
            assert torch.allclose(own.logits, plain.logits, rtol=0, atol=3e-5 * float(plain.logits.abs().max()))
    slot_table = own.state.layers[0][0].common
    assert isinstance(slot_table, SlotTable) and slot_table.ancestry is None
