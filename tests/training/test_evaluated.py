"""The weights that are validated: the moving average by hand, schedule-free's, and what a snapshot keeps of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training.runs import make_loop, same

from antiphon.training.evaluated import EvaluationWeights
from antiphon.training.loop import Loop, Validation


def trained(loop: Loop) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in loop.network.parameters()]


def shown(loop: Loop) -> list[Tensor]:
    with loop.evaluated.applied():
        return trained(loop)


def test_the_average_is_the_sum_that_it_stands_for() -> None:
    network = nn.Linear(4, 3).double()
    evaluated = EvaluationWeights(network, torch.optim.SGD(network.parameters(), lr=1.0), decay=0.9)
    generator, seen = torch.Generator().manual_seed(0), []
    for step in range(1, 31):
        with torch.no_grad():
            network.weight.copy_(torch.randn(3, 4, generator=generator, dtype=torch.float64))
        evaluated.update(step)
        seen.append(network.weight.detach().clone())
        share = [0.1 * 0.9 ** (step - i) / (1 - 0.9**step) for i in range(1, step + 1)]
        assert sum(share) == pytest.approx(1)
        wanted = sum((part * weight for part, weight in zip(share, seen, strict=True)), torch.zeros(3, 4))
        with evaluated.applied():
            torch.testing.assert_close(network.weight.detach(), wanted, rtol=0, atol=1e-13)
        assert torch.equal(network.weight.detach(), seen[-1])


def test_the_loop_counts_each_step_once(tmp_path: Path) -> None:
    made, by_hand = make_loop(tmp_path / "run", ema=0.8, accumulate=2), None
    for step in range(1, 8):
        made.step()
        now = [weight.double() for weight in trained(made)]
        total = 1 - 0.8**step
        if by_hand is None:
            by_hand = [torch.zeros_like(weight) for weight in now]
        by_hand = [0.8 * old + 0.2 * new for old, new in zip(by_hand, now, strict=True)]
        for mine, wanted in zip(shown(made), by_hand, strict=True):
            torch.testing.assert_close(mine.double(), wanted / total, rtol=0, atol=1e-6)


def test_schedule_free_shows_its_average(tmp_path: Path) -> None:
    """x of y = (1 − β)·z + β·x, where y is trained and z is in the state; showing it changes nothing."""
    made = make_loop(tmp_path / "run", optimizer="schedule_free", schedule="constant")
    for _ in range(5):
        made.step()
        before, found = trained(made), shown(made)
        assert all(torch.equal(a, b) for a, b in zip(before, trained(made), strict=True))
        for parameter, y, x in zip(made.network.parameters(), before, found, strict=True):
            z = made.parts.optimizer.state[parameter]["z"]
            torch.testing.assert_close(y, 0.1 * z + 0.9 * x, rtol=0, atol=1e-6)
    assert not any(torch.equal(a, b) for a, b in zip(before, found, strict=True))


TOGETHER: dict[str, dict[str, Any]] = {
    "ema": {"ema": 0.9},
    "schedule_free": {"optimizer": "schedule_free"},
    "both": {"optimizer": "schedule_free", "ema": 0.9},
    "all": {"optimizer": "schedule_free", "ema": 0.9, "r_drop": 2.0, "mixout": 0.3, "checkpoint_activations": True},
}


@pytest.mark.parametrize("settings", TOGETHER.values(), ids=TOGETHER)
def test_resumed_is_uninterrupted_and_validation_leaves_no_trace(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The parts validate and keep at other steps than the whole run does."""
    seen: dict[str, dict[int, float]] = {"whole": {}, "parts": {}}

    def validator(name: str) -> Any:
        def validate(network: Any, asked: Any) -> Validation:
            norm = float(sum(parameter.detach().double().abs().sum() for parameter in network.parameters()))
            seen[name][int(box[name].progress.step)] = norm
            return Validation({"valid_loss": norm}, [], -norm)

        return validate

    box: dict[str, Loop] = {}
    settings = {"accumulate": 2, "average_last": 3, **settings}
    box["whole"] = make_loop(tmp_path / "whole", validate=validator("whole"), max_steps=15, every=5, **settings)
    box["whole"].run()
    for end in (4, 5, 12, 15):
        box["parts"] = make_loop(tmp_path / "parts", validate=validator("parts"), max_steps=end, every=5, **settings)
        box["parts"].resume()
        box["parts"].run()
    assert same(box["whole"], box["parts"])
    assert all(seen["parts"][step] == norm for step, norm in seen["whole"].items())
    assert not all(torch.equal(a, b) for a, b in zip(trained(box["whole"]), shown(box["whole"]), strict=True))


@pytest.mark.parametrize("item", ["evaluated", "references"])
def test_the_resume_test_has_teeth(tmp_path: Path, item: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"ema": 0.9, "mixout": 0.3, "max_steps": 12}
    whole = make_loop(tmp_path / "whole", **settings)
    whole.run()
    make_loop(tmp_path / "parts", **{**settings, "max_steps": 5}).run()
    resumed = make_loop(tmp_path / "parts", **settings)
    if item == "evaluated":
        monkeypatch.setattr(EvaluationWeights, "restore", lambda *a: None)
    else:  # a network that began elsewhere
        for module in resumed.network.modules():
            if hasattr(module, "reference"):
                module.reference.zero_()
        monkeypatch.setattr("antiphon.training.resume.put_references", lambda *a: None)
    resumed.resume()
    resumed.run()
    assert not same(whole, resumed)
