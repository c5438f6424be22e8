"""benchmarks/to_loss.py: how their settings are chosen, and when a curve was at a loss."""

from __future__ import annotations

import importlib.util
import sys
from argparse import Namespace
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def to_loss(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    loaded("training", monkeypatch)  # the tests' own folder has this name
    return loaded("to_loss", monkeypatch)


def test_a_curve_is_read_between_its_points(to_loss: ModuleType) -> None:
    curve = [to_loss.Point(10, 1.0, 4.0), to_loss.Point(20, 3.0, 3.0), to_loss.Point(30, 5.0, 3.5)]
    assert to_loss.seconds_to(curve, 3.25) == pytest.approx(2.5)
    assert to_loss.seconds_to(curve, 3.0) == 3.0 and to_loss.seconds_to(curve, 2.9) is None
    assert to_loss.step_seconds(curve) == 0.2


def test_the_time_of_validations_and_of_reading_counts_nothing(to_loss: ModuleType) -> None:
    """Rows behind each step, at the times that a run gave; the first came after the data was read."""
    rows = [(100.0, {"step": 1}), (102.0, {"step": 2}), (104.0, {"step": 3})]
    rows += [(150.0, {"step": 3, "valid_loss": 5.0}), (151.0, {"step": 4}), (160.0, {"step": 4, "valid_loss": 4.0})]
    assert to_loss.points(rows) == [to_loss.Point(3, 6.0, 5.0), to_loss.Point(4, 7.0, 4.0)]


class Runs:
    """A pool whose runs take what `cost` says of their batch, and end at a loss that `loss` gives of settings and
    seconds."""

    def __init__(self, to_loss: ModuleType) -> None:
        self.point, self.asked = to_loss.Point, []

    def cost(self, asked: Any) -> float:
        return asked.choice.batch / 100 * (2.0 if asked.short else 1.0)  # a short run is slow

    def loss(self, asked: Any) -> float:
        choice = asked.choice
        return (
            abs(choice.rate - 4) + abs(choice.batch - 16) + abs(choice.warmup - 0.2) + 100 / asked.steps / choice.batch
        )

    def submit(self, run: Any, asked: Any, threads: int) -> Future[Any]:
        self.asked.append(asked)
        done: Future[Any] = Future()
        steps = (asked.steps // 2, asked.steps)
        done.set_result([self.point(step, step * self.cost(asked), self.loss(asked)) for step in steps])
        return done


def test_settings_are_chosen_in_the_same_time_one_after_the_other(to_loss: ModuleType) -> None:
    runs = Runs(to_loss)
    flags = Namespace(layers=1, threads=1, trial=60, seconds=600, points=5)
    bench = to_loss.Bench(Path("."), flags, runs)
    best = to_loss.Choice(2.0, 32, 0.1)
    best = bench.better([best._replace(rate=rate) for rate in (2.0, 4.0, 8.0)])
    assert best == (4.0, 32, 0.1)
    best = bench.better([best._replace(batch=batch) for batch in (32, 16, 64)])
    best = bench.better([best._replace(warmup=warmup) for warmup in (0.1, 0.2)])
    assert best == (4.0, 16, 0.2)
    last = {asked.choice: asked.steps * runs.cost(asked) for asked in runs.asked if not asked.short}
    assert len(last) == 3 + 2 + 1 and all(54 < seconds < 66 for seconds in last.values())
    bench.whole("transformers", best, bench.costs[best.batch])
    assert runs.asked[-1].steps * runs.cost(runs.asked[-1]) == pytest.approx(600, rel=0.01)
    assert runs.asked[-1].warmup_steps == round(0.2 * runs.asked[-1].steps)
