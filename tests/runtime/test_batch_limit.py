"""Batches that do not fit memory: the same answers, in fewer rows at once, said once."""

from __future__ import annotations

import random
import weakref

import pytest
import torch
from runtime.garbage import quick_collections  # noqa: F401  a fixture
from search.toys import SPECIAL, source_of, toy

from antiphon.config import GenerationConfig
from antiphon.errors import WorkError, memory_ran_out
from antiphon.runtime.batch_limit import BatchLimit
from antiphon.runtime.stepper import DecodeStepper
from antiphon.search.engine import answer

pytestmark = pytest.mark.usefixtures("quick_collections")

ON_PROCESSOR = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: not enough memory: you tried to "
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(f"{ON_PROCESSOR}allocate 8 bytes. Error code 12 (Cannot allocate memory)"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, from_rows: int) -> list[int]:
    """Let steps of `from_rows` rows or more raise `error`. Returns the rows of each step, which grows."""
    step, tried = DecodeStepper.step, []
    held: list[weakref.ref[torch.Tensor]] = []

    def small(self: DecodeStepper, ids: torch.Tensor, place: int | torch.Tensor) -> None:
        assert all(reference() is None for reference in held), "the batch that failed is still in memory"
        tried.append(ids.numel())
        if ids.numel() >= from_rows:
            big = torch.zeros(8)
            held.append(weakref.ref(big))
            raise error
        step(self, ids, place)

    monkeypatch.setattr(DecodeStepper, "step", small)
    return tried


def test_batches_get_half_the_cost_of_what_did_not_fit_with_one_warning() -> None:
    limit = BatchLimit()
    assert limit.max_cost is None
    with pytest.warns(UserWarning) as said:
        for cost in (64, 32, 500):
            limit.lower(cost, count=16)
    assert limit.max_cost == 16
    assert [str(warning.message) for warning in said] == [
        "memory ran out at 16 inputs at once: from here on batches have half the size."
    ]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_single_row_that_does_not_fit_is_an_error(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, error, from_rows=1)
    with pytest.warns(UserWarning), pytest.raises(WorkError, match="one alone does not") as raised:
        answer(toy("paper", seed=3), [[5, 6, 2], [5, 2]], GenerationConfig(), SPECIAL)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [RuntimeError("a shape is wrong"), ValueError("out of memory"), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, error, from_rows=1)
    assert not memory_ran_out(error)
    with pytest.raises(type(error)):
        answer(toy("paper", seed=3), [[5, 6, 2], [5, 2]], GenerationConfig(), SPECIAL)


def test_a_search_that_runs_out_of_memory_answers_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where sources have joined by then: nothing is lost, and nothing is answered differently."""
    dice = random.Random(5)
    network, config = toy("paper", seed=3), GenerationConfig(beam_size=3, n_best=2, max_new_tokens=9, batch_size=8)
    sources = [source_of(dice) for _ in range(30)]
    whole = answer(network, sources, config, SPECIAL)
    tried = fail(monkeypatch, ERRORS[1], from_rows=4 * 3 + 1)
    with pytest.warns(UserWarning, match="memory ran out at 8 inputs at once"):
        again = answer(network, sources, config, SPECIAL)
    for mine, theirs in zip(again, whole, strict=True):
        assert [each.ids for each in mine] == [each.ids for each in theirs]
        assert [each.score for each in mine] == pytest.approx([each.score for each in theirs], abs=1e-9)
    # What is no smaller than what did not fit is not tried again: of the four batches only those of shorter sources.
    assert 1 <= sum(count > 12 for count in tried) <= 2


def test_a_tensor_that_no_machine_can_hold_is_recognized() -> None:
    """What PyTorch says today, so that a new wording is noticed."""
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory_ran_out(raised.value)
