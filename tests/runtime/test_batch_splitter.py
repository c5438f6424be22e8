"""Batches that do not fit memory: the same answers, in fewer rows at once, said once."""

from __future__ import annotations

import random
import warnings
import weakref
from collections.abc import Sequence

import pytest
import torch
from search.toys import SPECIAL, source_of, toy

from antiphon.config import GenerationConfig
from antiphon.errors import WorkError, memory_ran_out
from antiphon.runtime.batch_splitter import BatchSplitter
from antiphon.runtime.stepper import DecodeStepper
from antiphon.search.engine import answer

ON_PROCESSOR = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: not enough memory: you tried to "
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(f"{ON_PROCESSOR}allocate 8 bytes. Error code 12 (Cannot allocate memory)"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


def cells(rows: Sequence[str]) -> int:
    """Characters with padding."""
    return len(rows) * max(map(len, rows))


class Machine:
    """Answers a row with its capitals, as long as all rows together have no more cells than `fits`."""

    def __init__(self, fits: int, error: BaseException) -> None:
        self.fits, self.error = fits, error
        self.tried: list[int] = []  # cells of each batch

    def __call__(self, rows: Sequence[str]) -> list[str]:
        self.tried.append(cells(rows))
        if cells(rows) > self.fits:
            raise self.error
        return [row.upper() for row in rows]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("fits", [6, 7, 20, 63, 64, 1000])
def test_the_answers_are_those_of_the_whole_batch(fits: int, error: BaseException) -> None:
    rows = ["word" + "s" * (n % 3) for n in range(13)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert BatchSplitter().run(Machine(fits, error), rows, cost=cells) == [row.upper() for row in rows]


def test_what_did_not_fit_is_not_tried_again_and_said_once() -> None:
    machine, room = Machine(20, ERRORS[0]), BatchSplitter()
    with pytest.warns(UserWarning) as said:
        for _ in range(4):
            assert room.run(machine, ["four"] * 16, cost=cells) == ["FOUR"] * 16
    assert [str(warning.message) for warning in said] == [
        "memory ran out at 16 inputs at once: from here on batches have half the size."
    ]
    assert machine.tried == [64, 32] + [16] * 16  # the first two did not fit, and are the only ones
    assert room.max_cost == 16


def test_what_fits_runs_whole_and_silently() -> None:
    machine = Machine(64, ERRORS[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert BatchSplitter().run(machine, ["four"] * 16, cost=cells) == ["FOUR"] * 16
        assert BatchSplitter().run(machine, [], cost=cells) == []
    assert machine.tried == [64]


def test_a_single_row_that_does_not_fit_is_an_error_and_stays_one() -> None:
    with pytest.warns(UserWarning), pytest.raises(WorkError, match=r"one alone does not .*out of memory") as raised:
        BatchSplitter().run(Machine(3, ERRORS[0]), ["four", "two"], cost=cells)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [RuntimeError("a shape is wrong"), ValueError("out of memory"), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException) -> None:
    assert not memory_ran_out(error)
    with pytest.raises(type(error)):
        BatchSplitter().run(Machine(3, error), ["four", "two"], cost=cells)


def test_the_failed_batch_is_let_go_before_the_next_try() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def work(rows: Sequence[int]) -> list[int]:
        assert all(reference() is None for reference in held), "the batch that failed is still in memory"
        big = torch.zeros(8)
        held.append(weakref.ref(big))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return [int(big.sum()) + row for row in rows]

    with pytest.warns(UserWarning):
        assert BatchSplitter().run(work, [1, 2, 3, 4], cost=len) == [1, 2, 3, 4]
    assert len(held) == 6  # 4, then 2, then one by one
    del held[:]


def test_a_search_that_runs_out_of_memory_answers_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where sources have joined by then: nothing is lost, and nothing is answered differently."""
    dice = random.Random(5)
    network, config = toy("paper", seed=3), GenerationConfig(beam_size=3, n_best=2, max_new_tokens=9, batch_size=8)
    sources = [source_of(dice) for _ in range(30)]
    whole = answer(network, sources, config, SPECIAL)
    step, tried = DecodeStepper.step, []

    def small(self: DecodeStepper, ids: torch.Tensor, place: int | torch.Tensor, *, suppress_end: bool = False) -> None:
        tried.append(ids.numel())
        if ids.numel() > 4 * 3:
            raise ERRORS[1]
        step(self, ids, place, suppress_end=suppress_end)

    monkeypatch.setattr(DecodeStepper, "step", small)
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
