"""The loop beside a device that computes on its own: what makes the host wait for it, and batches made ahead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from training.runs import Reversals, make_loop, rows, same

from antiphon.batch import Batch, collate
from antiphon.nn.noise import LayerDrop
from antiphon.nn.operations import OPERATIONS
from antiphon.training.ahead import BatchPrefetcher
from antiphon.training.loop import Loop

aten = torch.ops.aten
WAITS = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten._unique2)


class Waits(TorchDispatchMode):
    """Notes what a GPU's host would wait for: numbers that are read, and results whose size depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        places = args[1] if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) else ()
        if func.overloadpacket in WAITS or any(place is not None and place.dtype is torch.bool for place in places):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


class Lists(TorchFunctionMode):
    """Notes whole tensors that are read, of which a processor's dispatcher is not told."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func in (Tensor.tolist, Tensor.numpy):
            self.waits.found.append(str(func))
        return func(*args, **(kwargs or {}))


def waits_of(made: Loop, monkeypatch: pytest.MonkeyPatch, *, steps: int) -> list[list[str]]:
    """What each step waits for; batches, which the host makes, apart."""
    monkeypatch.setattr(OPERATIONS["all_true"], "lowering", lambda mask: False)  # as on a GPU
    found = []
    for _ in range(steps):
        made.ahead.prepare()
        with Waits() as waits, Lists(waits):
            made.step()
        found.append(waits.found)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accumulate": 3},
        {"r_drop": 2.0},
        {"optimizer": "muon", "ema": 0.9},
        {"optimizer": "lion", "clip_norm": 0},
        {"checkpoint_activations": True, "mixout": 0.1, "precision": "bfloat16"},
    ],
)
def test_a_step_reads_its_device_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    made = make_loop(tmp_path / "run", **settings)
    # Layer drop draws its number on the host, which is no wait.
    for part in made.network.modules():
        if isinstance(part, LayerDrop):
            part.p = 0.0
    for found in waits_of(made, monkeypatch, steps=3):
        assert len(found) == 1, found


@pytest.mark.parametrize(
    "read",
    [
        lambda hidden: hidden[0, 0, 0].item(),
        lambda hidden: bool((hidden > 0).any()),
        lambda hidden: hidden[hidden > 0],
        lambda hidden: hidden.nonzero(),
        lambda hidden: hidden.tolist(),
    ],
)
def test_the_count_has_teeth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    """One more wait in a module is seen."""
    made = make_loop(tmp_path / "run")
    for part in made.network.modules():
        if isinstance(part, LayerDrop):
            part.p = 0.0

    def hook(module: nn.Module, given: Any, hidden: Tensor) -> None:
        read(hidden.detach())

    made.network.source.drop.register_forward_hook(hook)
    assert [len(found) for found in waits_of(made, monkeypatch, steps=1)] == [2]


def prepared(made: Loop) -> Loop:
    """A loop whose batches are made ahead wherever a GPU's would be, and at every other moment between two steps."""
    step, state = made.step, made.ahead.state

    def ahead() -> None:
        step()
        made.ahead.prepare()

    made.step = ahead  # type: ignore[method-assign]
    made.ahead.prepare()
    assert made.ahead.state() != made.parts.batches.state() and state() == made.ahead.state()
    return made


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"max_steps": None, "max_epochs": 2}])
def test_ahead_is_as_without(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Same weights, same rows, same ends, and a run that is resumed sees what no step had seen."""
    settings = {"max_steps": 15, "pass_length": 6, **settings}
    plain = make_loop(tmp_path / "plain", **settings)
    reason = plain.run()
    made = prepared(make_loop(tmp_path / "ahead", **settings))
    assert made.run() == reason
    assert same(plain, made) and rows(tmp_path / "ahead") == rows(tmp_path / "plain")
    same_steps = {name: value for name, value in settings.items() if name in ("accumulate", "pass_length")}
    prepared(make_loop(tmp_path / "parts", max_steps=7, **same_steps)).run()
    resumed = make_loop(tmp_path / "parts", **settings)
    resumed.ahead.prepare()  # from before the snapshot: left out
    assert resumed.resume()
    resumed.run()
    assert same(plain, resumed)


def test_a_position_is_that_of_the_next_step() -> None:
    stream = Reversals()
    ahead = BatchPrefetcher(stream, lambda: [(made := next(stream), collate(made, pad_id=0, start_id=1))])
    for number in range(25):
        before = (ahead.epoch, ahead.state())
        ahead.prepare()
        ahead.prepare()
        assert (ahead.epoch, ahead.state()) == before == (number // 20, {"number": number})
        [(examples, batch)] = ahead.take()
        assert batch.source[0, : len(examples[0].source)].tolist() == examples[0].source
    assert ahead.state() == {"number": 25}
    ahead.prepare()
    ahead.restore({"number": 3})
    assert ahead.take()[0][0] == next(reversals_at(3))


def reversals_at(number: int) -> Reversals:
    found = Reversals()
    found.restore({"number": number})
    return found


def test_label_places_are_those_of_the_mask() -> None:
    batch: Batch = collate(next(Reversals()), pad_id=0, start_id=1).to("cpu")
    assert torch.equal(batch.labels.flatten()[batch.label_places], batch.labels[batch.label_mask])
    assert not batch.label_mask.all()
