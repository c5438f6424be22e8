"""The guards in a run: memory that runs out, a loss out of its range, steps that are not finite, clocks that jump."""

from __future__ import annotations

import functools
import gc
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from counts import count
from torch import Tensor, nn
from training.runs import MODEL, Reversals, Said, make_loop, rows, same, weights

from antiphon.batch import Example
from antiphon.errors import DivergenceError, NonFiniteError, WorkError
from antiphon.training.guards.loss_range import BLOCK
from antiphon.training.loop import Loop
from antiphon.training.step import NON_FINITE_LIMIT


def lines(loop: Loop) -> list[str]:
    display = loop.record.display
    assert isinstance(display, Said)
    return display.lines


# Memory


class Memory:
    """Raises what an allocator raises when a forward has more positions than fit, in `place`: the forward, or the
    backward pass, in which other gradients have been added already."""

    def __init__(self, loop: Loop, most: int, place: str, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.most, self.error, self.positions, self.failures = most, error, 0, 0
        loop.network.register_forward_pre_hook(self.enter)
        if place == "backward":
            # The embedding's gradient comes last.
            loop.network.target.table.weight.register_hook(self.check)
        else:
            loop.network.decoder.layers[1].register_forward_pre_hook(lambda *_: self.check())

    def enter(self, network: nn.Module, inputs: Any) -> None:
        batch = inputs[0]
        self.positions = batch.labels.shape[0] * (batch.labels.shape[1] + batch.source.shape[1])

    def check(self, gradient: Tensor | None = None) -> None:
        if self.positions > self.most:
            self.failures += 1
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB.")


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate": 3},
    "r_drop": {"r_drop": 2.0, "accumulate": 2},
    "mixout and averages": {"mixout": 0.3, "ema": 0.5, "accumulate": 2},
    "recomputed": {"checkpoint_activations": True, "optimizer": "schedule_free"},
}


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> Iterator[None]:
    """Each time that memory runs out, the garbage collector looks at all objects: not at those of the libraries."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class MemoryRun:
    """A run of count("memory_steps") steps in float64, for which batches up to `most` positions fit."""

    def __init__(self, folder: Path, name: str, most: int, place: str) -> None:
        steps = count("memory_steps")
        self.folder = folder
        self.loop = make_loop(folder, max_steps=steps, log_every_steps=steps // 3, **SETTINGS[name])
        self.loop.network.double()
        self.memory = Memory(self.loop, most, place)
        self.loop.run()
        self.weights = weights(self.loop)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], MemoryRun]:
    """The run of each of the SETTINGS whose memory is large."""

    @functools.cache
    def made(name: str) -> MemoryRun:
        return MemoryRun(tmp_path_factory.mktemp("whole"), name, 10**9, "forward")

    return made


@pytest.mark.parametrize("place", ["forward", "backward"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_whose_memory_is_small_is_the_run(
    name: str, place: str, tmp_path: Path, whole_run: Callable[[str], MemoryRun]
) -> None:
    whole = whole_run(name)
    parts = MemoryRun(tmp_path, name, 24 * (2 if "r_drop" in SETTINGS[name] else 1), place)
    failures = parts.memory.failures
    assert whole.memory.failures == 0 and failures > 0
    assert parts.loop.progress.protection.split.failures == failures
    for one, other in zip(parts.weights, whole.weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)
    for mine, theirs in zip(rows(parts.folder), rows(whole.folder), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9)
    assert len([line for line in lines(parts.loop) if "memory ran out" in line]) == 1
    logged = [json.loads(line) for line in (parts.folder / "metrics.jsonl").read_text().splitlines()]
    assert sum(row.get("split_micro_batches", 0) for row in logged) > 0
    assert [row["event"] for row in parts.loop.protection.events.rows] == ["memory"] * failures
    assert not whole.loop.protection.events.rows


def test_what_was_split_is_split_behind_a_resume(tmp_path: Path) -> None:
    """A resumed run computes the same parts, so its bits are those of the uninterrupted one, without a new failure."""
    whole = make_loop(tmp_path / "whole", max_steps=20)
    failures = Memory(whole, 30, "backward")
    whole.run()
    assert failures.failures
    for end in (10, 20):
        part = make_loop(tmp_path / "parts", max_steps=end)
        memory = Memory(part, 30, "backward")
        part.resume()
        part.run()
    assert same(whole, part) and memory.failures <= failures.failures
    assert part.progress.protection.split == whole.progress.protection.split


def test_a_row_that_does_not_fit_ends_the_run_with_its_example(tmp_path: Path) -> None:
    loop = make_loop(tmp_path / "run", save_every_steps=5)
    memory = Memory(loop, 10**9, "forward")
    for _ in range(5):
        loop.step()
    loop.save()
    memory.most = 3
    with pytest.raises(WorkError, match=r"memory ran out in step 6 for a single row .*\(example \d\), which") as caught:
        loop.run()
    assert "\n" not in str(caught.value) and loop.parts.store.steps() == [5]


def test_memory_that_runs_out_in_the_update_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some weights may be updated and others not: nothing is saved then."""
    loop = make_loop(tmp_path / "run", max_steps=20, save_every_steps=5)
    step, count = loop.parts.optimizer.step, iter(range(100))

    def fails(*arguments: Any) -> Any:
        if next(count) == 12:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return step(*arguments)

    monkeypatch.setattr(loop.parts.optimizer, "step", fails)
    with pytest.raises(WorkError, match=r"memory ran out after step 12 .* the snapshot of step 10 is kept"):
        loop.run()
    assert loop.parts.store.steps() == [5, 10]


# Divergence


class Poisoned(Reversals):
    """Batches whose targets are another language from number `first` to `last`."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(6, length=10**6)
        self.first, self.last = first, last

    def __next__(self) -> list[Example]:
        number, found = self.number, super().__next__()
        if not self.first <= number < self.last:
            return [Example(each.source, [5, 6, 2], each.index) for each in found]
        chance = random.Random(number)
        return [Example(each.source, [chance.randrange(4, 12) for _ in range(9)], each.index) for each in found]


SMALL = replace(MODEL, encoder_layers=1, decoder_layers=1, layer_drop=0.0)


def poisoned_loop(folder: Path, *, first: int = 60, last: int = 100, **settings: Any) -> Loop:
    known: dict[str, Any] = {
        "model": SMALL,
        "max_steps": 120,
        "lr": 1e-2,
        "save_every_steps": 20,
        "keep_last": 2,
        "log_every_steps": 20,
    }
    loop = make_loop(folder, **{**known, **settings})
    loop.parts.batches.__class__ = Poisoned
    loop.parts.batches.__init__(first, last)  # type: ignore[misc]
    return loop


@pytest.fixture(scope="module")
def went_back(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loop, Path]:
    """A run that went back once, and its folder."""
    folder = tmp_path_factory.mktemp("went-back") / "run"
    loop = poisoned_loop(folder, max_rollbacks=1)
    loop.run()
    return loop, folder


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loop, Path, DivergenceError]:
    """A run that diverged and stopped, its folder, and how it ended."""
    folder = tmp_path_factory.mktemp("diverged") / "run"
    loop = poisoned_loop(folder)
    with pytest.raises(DivergenceError) as caught:
        loop.run()
    return loop, folder, caught.value


def test_a_run_that_diverges_stops_and_keeps_the_last_good_snapshot(
    diverged: tuple[Loop, Path, DivergenceError], went_back: tuple[Loop, Path], tmp_path: Path
) -> None:
    loop, folder, error = diverged
    text, step = str(error), loop.progress.step
    assert error.exit_code == 1 and "\n" not in text
    assert step == 100 and f"has left its range at step {step}: " in text and "(since step 51)" in text
    assert "The snapshot of step 20 and the best model are kept, those after it" in text
    assert "lower `training.lr`" in text and "training.max_rollbacks=1" in text and "resume=True" in text
    assert loop.parts.store.steps() == [20]
    row = loop.protection.events.rows[-1]
    assert row["event"] == "divergence" and row["back_to"] is None and row["level"] > row["end"] > row["lowest"]
    # It is resumed from there, with another setting.
    shutil.copytree(folder, tmp_path / "run")
    other = poisoned_loop(tmp_path / "run", max_rollbacks=1)
    assert other.resume() and other.progress.step == 20
    assert other.run() == "120 steps are done"
    assert same(other, went_back[0]) and rows(tmp_path / "run") == rows(went_back[1])


def test_going_back_skips_the_data_and_nothing_else(
    went_back: tuple[Loop, Path], diverged: tuple[Loop, Path, DivergenceError], tmp_path: Path
) -> None:
    """The run is one whose stream jumps from the good snapshot to the place behind the divergence."""
    loop, folder = went_back
    assert (
        loop.progress.protection.rollbacks == 1
        and loop.progress.step == 120
        and loop.parts.batches.state() == {"number": 200}
    )
    said = [line for line in lines(loop) if "has left its range" in line]
    assert (
        len(said) == 1
        and "going back to the snapshot of step 20 and on with the data after step 100 (1 of 1" in said[0]
    )
    shutil.copytree(diverged[1], tmp_path / "jumping")  # it has the snapshot of step 20
    jumping = poisoned_loop(tmp_path / "jumping")
    assert jumping.resume() and jumping.progress.step == 20
    jumping.ahead.restore({"number": 100})
    jumping.run()
    assert same(loop, jumping)
    found = rows(folder)
    assert [row["step"] for row in found] == list(range(20, 121, 20)) and found == rows(tmp_path / "jumping")
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["rollbacks"] == 1


@pytest.mark.parametrize("cuts", [[60, 125], [100, 101]])
def test_a_run_that_went_back_is_resumed_exactly(cuts: list[int], went_back: tuple[Loop, Path], tmp_path: Path) -> None:
    """Also where it is killed after it went back and before it saved: it diverges and goes back again."""
    whole, folder = went_back
    steps = 0
    for end in [*cuts, 10**9]:
        part = poisoned_loop(tmp_path / "parts", max_rollbacks=1)
        part.resume()
        step = part.step

        def killed(step: Any = step, end: int = end) -> None:
            nonlocal steps
            steps += 1
            step()
            if steps >= end:
                raise RuntimeError("killed")

        part.step = killed  # type: ignore[method-assign]
        try:
            part.run()
        except RuntimeError as error:
            assert str(error) == "killed"
    assert part.progress.step == 120 and part.progress.protection.rollbacks == 1
    assert same(whole, part) and rows(tmp_path / "parts") == rows(folder)


def test_it_goes_back_a_bounded_number_of_times(tmp_path: Path) -> None:
    loop = poisoned_loop(tmp_path / "run", first=110, last=10**6, max_rollbacks=2, max_steps=160)
    with pytest.raises(DivergenceError, match=r"training\.max_rollbacks=3"):
        loop.run()
    assert loop.progress.protection.rollbacks == 2 and loop.parts.store.steps()[-1] <= 120
    assert [row["back_to"] is not None for row in loop.protection.events.rows] == [True, True, False]


def test_without_a_snapshot_from_before_it_stops(tmp_path: Path) -> None:
    loop = poisoned_loop(tmp_path / "run", save_every_steps=1000, max_rollbacks=2)
    with pytest.raises(DivergenceError, match="There is no snapshot from before"):
        loop.run()


def test_the_guard_can_be_switched_off(tmp_path: Path) -> None:
    loop = poisoned_loop(tmp_path / "run", max_loss_rise=0)  # with it, the run ends at step 100
    assert loop.run() == "120 steps are done"
    assert loop.parts.store.steps() == [100, 120]


def test_the_snapshot_before_a_rise_survives_frequent_saves(tmp_path: Path) -> None:
    """Saves at each step and two kept: the one from before is kept too."""
    loop = poisoned_loop(tmp_path / "run", first=60, save_every_steps=1, max_rollbacks=1, max_steps=60)
    loop.settings = replace(loop.settings, max_steps=100)
    loop.run()
    assert [row["back_to"] for row in loop.protection.events.rows] == [BLOCK]


# Steps that are not finite


def poisoned_gradient(loop: Loop, kind: str, steps: range) -> None:
    forward = loop.forward

    def poisoned(batch: Any, criterion: Any) -> Any:
        found = forward(batch, criterion)
        if loop.progress.step + 1 not in steps:
            return found
        if kind == "gradient":  # of a loss that is finite
            objective = found.objective + 0 * (loop.network.target.table.weight.sum() - 1e30).exp().log()
            return type(found)(objective + (loop.network.target.table.weight.sum() * 0).sqrt(), found.nll, found.labels)
        return type(found)(found.objective * float(kind), found.nll, found.labels)

    loop.forward = poisoned


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
def test_a_step_that_is_not_finite_changes_no_parameter_and_replaces_no_snapshot(kind: str, tmp_path: Path) -> None:
    loop = make_loop(tmp_path / "run", max_steps=30, save_every_steps=1, keep_last=1, accumulate=2)
    for _ in range(10):
        loop.step()
    loop.save()
    before = [part.clone() for part in weights(loop)]
    poisoned_gradient(loop, kind, range(11, 100))
    with pytest.raises(NonFiniteError, match=r"step 15 must be finite \(examples 0, 1, 2") as caught:
        loop.run()
    assert f"{NON_FINITE_LIMIT} steps in a row" in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(loop), strict=True))
    assert loop.parts.store.steps() == [10]
    said = [line for line in lines(loop) if "must be finite" in line]
    assert len(said) == NON_FINITE_LIMIT - 1 and all(f"step {11 + number}" in line for number, line in enumerate(said))


def test_saving_goes_on_when_steps_are_finite_again(tmp_path: Path) -> None:
    loop = make_loop(tmp_path / "run", max_steps=16, save_every_steps=1, keep_last=2)
    poisoned_gradient(loop, "nan", range(11, 14))
    loop.run()
    assert loop.parts.store.steps() == [15, 16] and loop.progress.non_finite == 0


# Clocks


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> Iterator[random.Random]:
    """The time of day is set by hours, forward and back, at each reading."""
    chance, real = random.Random(0), time.time
    monkeypatch.setattr(time, "time", lambda: real() + chance.choice([-9, -1, 0, 2, 7, 24]) * 3600)
    yield chance


def figures(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_clock_that_is_set_changes_no_figure(jumping: random.Random, tmp_path: Path) -> None:
    began = time.monotonic()
    loop = make_loop(tmp_path / "run", max_steps=40, max_minutes=30, save_every_steps=10)
    assert loop.run() == "40 steps are done"
    elapsed = time.monotonic() - began
    found = figures(tmp_path / "run")
    assert [row["step"] for row in found] == list(range(5, 41, 5)) and loop.parts.store.steps()[-1] == 40
    times = [row["time_seconds"] for row in found]
    assert times == sorted(times) and times[0] > 0 and times[-1] <= elapsed
    for row in found:
        assert 0 < row["step_seconds"] <= elapsed and 0 <= row["seconds_left"] <= 1800
        assert 1 < row["tokens_per_second"] < 1e7


def test_a_process_that_was_stopped_is_not_charged_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP or a paused virtual machine: the monotonic clock runs on by 3 hours within a step."""
    loop = make_loop(tmp_path / "run", max_steps=40, max_minutes=30)
    shift, real, gradients = 0.0, time.perf_counter, loop.gradients

    def paused(*given: Any) -> Any:
        nonlocal shift
        shift += 3 * 3600 if loop.progress.step == 20 else 0
        return gradients(*given)

    monkeypatch.setattr(loop, "gradients", paused)
    monkeypatch.setattr(time, "perf_counter", lambda: real() + shift)
    assert loop.run() == "40 steps are done"
    found = figures(tmp_path / "run")
    assert found[-1]["time_seconds"] < 60 and all(row["tokens_per_second"] > 1 for row in found)
    assert all(row["seconds_left"] <= 1800 for row in found)
    assert len([line for line in lines(loop) if "not counted as training time" in line]) == 1
    assert loop.protection.events.rows[0]["event"] == "pause"


def test_a_clock_that_stands_still_divides_by_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop(tmp_path / "run", max_steps=10)
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    loop.run()
    assert all(math.isfinite(row["tokens_per_second"]) for row in figures(tmp_path / "run"))
