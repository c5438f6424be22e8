"""Sources leave, sources join, hypotheses are reordered: every field of every part of the search state takes part."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from search.toys import SPECIAL
from torch import Tensor

from antiphon.constraints.trie import TrieConstraint
from antiphon.nn.ctc import CTCFrames
from antiphon.nn.state import State
from antiphon.search.batch_state import PART, PER_HYPOTHESIS, PER_SOURCE, SHARED, BatchState
from antiphon.search.config import SearchConfig
from antiphon.search.constraint_state import ConstraintState
from antiphon.search.coverage import Coverage
from antiphon.search.hypotheses import FinishedHypotheses
from antiphon.search.length_limits import LengthLimits
from antiphon.search.next_token.ctc_prefix import CTCPrefixScores
from antiphon.search.next_token.sampling import HypothesisRandom, TokenSampler
from antiphon.search.requests import Request
from antiphon.search.state import SearchState

WIDTH, SIZE, POSITIONS, CPU = 3, 11, 6, torch.device("cpu")
CONFIG = SearchConfig(SPECIAL, width=WIDTH, sampler=TokenSampler(1.0))


def requests(count: int) -> list[Request]:
    tries = [TrieConstraint([[7, 8, 2], [7, 9, 2]], end=2, size=SIZE) for _ in range(count)]
    return [Request([5, 2], 9 + row, prefix=[3, 4], row=row, restriction=trie) for row, trie in enumerate(tries)]


def coverage(count: int) -> Coverage:
    return Coverage([State(), State()], torch.ones(1, POSITIONS) > 0, sources=count, width=WIDTH, weight=0.5)


def ctc_scores(count: int) -> CTCPrefixScores:
    frames = CTCFrames(torch.randn(count, POSITIONS, SIZE + 1).log_softmax(-1), torch.full((count,), POSITIONS))
    return CTCPrefixScores(frames, width=WIDTH, weight=0.3, end=2)


def search_state(count: int) -> SearchState:
    state = SearchState.start(requests(count), CONFIG, vocab_size=SIZE, device=CPU, capacity=20)
    state.coverage, state.ctc = coverage(count), ctc_scores(count)
    return state


def constraint_state(count: int) -> ConstraintState:
    tries = [request.restriction for request in requests(count)]
    return ConstraintState(tries, width=WIDTH, vocab_size=SIZE, device=CPU)


MAKE: dict[type[BatchState], Callable[[int], BatchState]] = {
    SearchState: search_state,
    LengthLimits: lambda count: LengthLimits([*requests(count), Request([5], 30, [3, 4])][-count:], CONFIG, device=CPU),
    FinishedHypotheses: lambda count: FinishedHypotheses(torch.zeros(count, WIDTH), capacity=20),
    Coverage: coverage,
    CTCPrefixScores: ctc_scores,
    ConstraintState: constraint_state,
    HypothesisRandom: lambda count: HypothesisRandom([4] * count, torch.arange(count), WIDTH),
}


def filled(kind: type[BatchState], count: int, seed: int) -> BatchState:
    """A state of `count` sources whose rows are all different."""
    dice, made = random.Random(seed), MAKE[kind](count)
    torch.manual_seed(seed)

    def fill(state: BatchState) -> None:
        for field in dataclasses.fields(state):  # type: ignore[arg-type]
            value = getattr(state, field.name)
            if isinstance(value, BatchState):
                fill(value)
            elif field.metadata not in (PER_SOURCE, PER_HYPOTHESIS):
                continue
            elif isinstance(value, Tensor):
                new = (
                    torch.rand(value.shape) < 0.5 if value.dtype == torch.bool else torch.randint(1, 1000, value.shape)
                )
                setattr(state, field.name, new.to(value.dtype))
            elif field.name != "constraints":
                rows = [[dice.randrange(1000) for _ in range(WIDTH)] for _ in value]
                setattr(state, field.name, rows if field.metadata == PER_HYPOTHESIS else [row[0] for row in rows])

    fill(made)
    return made


def leaves(state: BatchState, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The metadata and the value of each field, those of its parts included."""
    found: dict[str, tuple[Any, Any]] = {}
    for field in dataclasses.fields(state):  # type: ignore[arg-type]
        value, name = getattr(state, field.name), f"{prefix}{field.name}"
        if field.metadata == PART:
            assert isinstance(value, BatchState), f"the test must give {name} a value"
            found |= leaves(value, f"{name}.")
        else:
            found[name] = (dict(field.metadata), value.clone() if isinstance(value, Tensor) else value)
    return found


def as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value


def test_every_class_of_the_search_state_is_here() -> None:
    own = {each for each in BatchState.__subclasses__() if each.__module__.startswith("antiphon.")}
    assert own == set(MAKE)


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_every_field_says_what_its_rows_are(kind: type[BatchState]) -> None:
    for name, (metadata, value) in leaves(filled(kind, 5, 0)).items():
        assert metadata in (PER_SOURCE, PER_HYPOTHESIS, SHARED), name
        if metadata == SHARED:  # nothing that has a row for each source
            assert not (isinstance(value, Tensor | list) and len(value) == 5), name
        elif metadata == PER_HYPOTHESIS:
            assert len(value) == 5 and all(len(row) == WIDTH for row in value), name
        else:
            assert len(value) == 5, name


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_sources_leave(kind: type[BatchState]) -> None:
    state = filled(kind, 5, 0)
    before, rows = leaves(state), [4, 0, 2]
    state.select(torch.tensor(rows))
    after = leaves(state)
    for name, (metadata, value) in before.items():
        if metadata != SHARED:
            assert as_list(after[name][1]) == [as_list(value)[row] for row in rows], name
        elif not name.endswith("min_limit"):
            assert as_list(after[name][1]) == as_list(value), name


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_sources_join(kind: type[BatchState]) -> None:
    state, other = filled(kind, 5, 0), filled(kind, 2, 1)
    before, joining = leaves(state), leaves(other)
    state.append(other)
    after = leaves(state)
    for name, (metadata, value) in before.items():
        if metadata != SHARED:
            assert as_list(after[name][1]) == [*as_list(value), *as_list(joining[name][1])], name


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_hypotheses_are_reordered(kind: type[BatchState]) -> None:
    state, parents = filled(kind, 2, 0), [[2, 0, 0], [1, 1, 2]]
    before = leaves(state)
    state.reorder(torch.tensor(parents))
    after = leaves(state)
    for name, (metadata, value) in before.items():
        expected = as_list(value)
        if metadata == PER_HYPOTHESIS:
            expected = [[row[parent] for parent in own] for row, own in zip(expected, parents, strict=True)]
        assert as_list(after[name][1]) == expected, name


def test_the_smallest_limit_is_of_the_sources_that_are_there() -> None:
    limits = LengthLimits(requests(4), CONFIG, device=CPU)
    assert (limits.min_limit, limits.capacity) == (9, 12)
    limits.select(torch.tensor([3, 2]))
    assert (limits.min_limit, limits.capacity) == (11, 12)
    limits.append(LengthLimits(requests(1), CONFIG, device=CPU))
    assert limits.min_limit == 9
    limits.select(torch.tensor([], dtype=torch.long))
    assert limits.min_limit == 12


def test_constraints_are_dropped_with_the_last_source_that_has_one() -> None:
    asked = [*requests(1), Request([5, 2], limit=9, prefix=[3, 4])]
    state = SearchState.start(asked, CONFIG, vocab_size=SIZE, device=CPU)
    state.select(torch.tensor([1, 0]))
    assert state.constraints is not None
    state.select(torch.tensor([0]))
    assert state.constraints is None


def test_a_new_field_takes_part_and_one_without_metadata_is_an_error() -> None:
    @dataclasses.dataclass(eq=False)
    class More(BatchState):
        lengths: Tensor = dataclasses.field(metadata=PER_SOURCE)
        new: Tensor = dataclasses.field(metadata=PER_HYPOTHESIS)

    def more() -> More:
        return More(torch.arange(2), torch.arange(6).view(2, 3))

    state = more()
    state.select(torch.tensor([1]))
    state.append(more())
    state.reorder(torch.tensor([[2, 1, 0]] * 3))
    assert state.lengths.tolist() == [1, 0, 1]
    assert state.new.tolist() == [[5, 4, 3], [2, 1, 0], [5, 4, 3]]

    @dataclasses.dataclass(eq=False)
    class Forgotten(More):
        bare: Tensor

    for change in (
        lambda s: s.select(torch.tensor([0])),
        lambda s: s.append(s),
        lambda s: s.reorder(torch.zeros(2, 3).long()),
    ):
        with pytest.raises(KeyError, match="rows"):
            change(Forgotten(torch.arange(2), torch.arange(6).view(2, 3), torch.arange(2)))
