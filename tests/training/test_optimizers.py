"""Each optimizer against its paper computed another way, and resumed = uninterrupted for each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training.runs import make_loop, same

from antiphon.config import TrainingConfig
from antiphon.settings import SettingError
from antiphon.training.optim import build_optimizer
from antiphon.training.optimizers import Lion, Muon, muon

ALL: list[Any] = [
    "adamw",
    "adafactor",
    "muon",
    "lion",
    "schedule_free",
    "sgd",
    {"muon": {"momentum": 0.9, "adamw_lr": 1e-3, "nesterov": False}},
    {"sgd": {"momentum": 0.0, "nesterov": False}},
    {"torch.optim:RMSprop": {"alpha": 0.9}},
    "torch.optim:NAdam",
    "schedulefree:RAdamScheduleFree",
]


def names(spec: Any) -> str:
    return spec if isinstance(spec, str) else "-".join([*spec, *next(iter(spec.values()))])


@pytest.mark.parametrize("optimizer", ALL, ids=names)
def test_resumed_is_uninterrupted(tmp_path: Path, optimizer: Any) -> None:
    settings: dict[str, Any] = {"optimizer": optimizer, "accumulate": 2, "layer_decay": 0.9}
    whole = make_loop(tmp_path / "whole", max_steps=9, **settings)
    before = [parameter.detach().clone() for parameter in whole.network.parameters()]
    whole.run()
    assert not any(torch.equal(a, b) for a, b in zip(before, whole.network.parameters(), strict=True))
    for end in (4, 5, 9):  # twice, since a state can survive one resume and not the second
        part = make_loop(tmp_path / "parts", max_steps=end, **settings)
        part.resume()
        part.run()
    assert same(whole, part)


@pytest.mark.parametrize("optimizer", ["adafactor", "muon", "lion", "schedule_free", "sgd"])
def test_the_resume_test_has_teeth(tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_loop(tmp_path / "whole", max_steps=9, optimizer=optimizer)
    whole.run()
    make_loop(tmp_path / "parts", max_steps=5, optimizer=optimizer).run()
    resumed = make_loop(tmp_path / "parts", max_steps=9, optimizer=optimizer)
    monkeypatch.setattr("antiphon.training.resume.join_optimizer", lambda *a, **k: None)
    resumed.resume()
    resumed.run()
    assert not same(whole, resumed)


def problem(*shapes: tuple[int, ...]) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Weights, and the gradients of five steps."""
    generator = torch.Generator().manual_seed(0)
    draw = [[torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes] for _ in range(6)]
    return draw[0], draw[1:]


def taken(optimizer: torch.optim.Optimizer, weights: list[Tensor], gradients: list[list[Tensor]]) -> None:
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()


def test_lion_is_algorithm_2() -> None:
    (start,), gradients = problem((3, 4))
    weight = start.clone().requires_grad_()
    taken(Lion([weight], lr=0.01, betas=(0.9, 0.98), weight_decay=0.1), [weight], gradients)
    theta, m = start.clone(), torch.zeros_like(start)
    for (g,) in gradients:
        c = 0.9 * m + 0.1 * g
        theta = theta - 0.01 * (torch.sign(c) + 0.1 * theta)
        m = 0.98 * m + 0.02 * g
    torch.testing.assert_close(weight.detach(), theta, rtol=0, atol=1e-14)


def test_muon_is_its_definition_and_adamw_takes_the_rest() -> None:
    (start, bias), gradients = problem((6, 4), (4,))
    weight, other = start.clone().requires_grad_(), bias.clone().requires_grad_()
    groups = [
        {"params": [weight], "lr_scale": 1.0, "weight_decay": 0.1, "linear": True},
        {"params": [other], "lr_scale": 1.0, "weight_decay": 0.0, "linear": False},
    ]
    made = muon(groups, lr=0.02, betas=(0.9, 0.98), weight_decay=0.1, adamw_lr=0.005)
    for group in made.param_groups:  # as the loop does
        group["lr"] = 0.02 * group["lr_scale"]
    taken(made, [weight, other], gradients)

    theta, momentum = start.clone(), torch.zeros_like(start)
    for g, _ in gradients:
        momentum = 0.95 * momentum + 0.05 * g
        update = 0.05 * g + 0.95 * momentum
        # Jordan et al. 2024: the polynomial a·s + b·s³ + c·s⁵ of each singular value, five times.
        left, values, right = torch.linalg.svd(update, full_matrices=False)
        values = values / values.norm()
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        theta = theta * (1 - 0.02 * 0.1) - 0.02 * 0.2 * math.sqrt(6) * left @ values.diag() @ right
    torch.testing.assert_close(weight.detach(), theta, rtol=0, atol=1e-12)
    assert float((theta - start).abs().max()) > 0.02

    alone = bias.clone().requires_grad_()
    plain = torch.optim.AdamW([alone], lr=0.005, betas=(0.9, 0.98), weight_decay=0.0, eps=1e-9)
    taken(plain, [alone], [[g] for _, g in gradients])
    torch.testing.assert_close(other.detach(), alone.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_pytorchs_but_for_bfloat16(nesterov: bool) -> None:
    (one, two, three), gradients = problem((6, 4), (6, 4), (4, 9))
    ours = [part.clone().requires_grad_() for part in (one, two, three)]
    theirs = [part.clone().requires_grad_() for part in (one, two, three)]
    settings: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9, "nesterov": nesterov}
    taken(Muon(ours, **settings), ours, gradients)
    taken(torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **settings), theirs, gradients)
    for mine, other, start in zip(ours, theirs, (one, two, three), strict=True):
        moved = (other - start).detach().norm()
        assert float((mine - other).detach().norm() / moved) < 0.03


def test_adafactor_is_algorithm_4() -> None:
    (start,), gradients = problem((5, 3))
    weight = start.clone().requires_grad_()
    network = torch.nn.Linear(3, 5, bias=False)
    network.weight = torch.nn.Parameter(weight.detach().clone())
    made = build_optimizer(network, TrainingConfig(optimizer="adafactor", lr=0.05, weight_decay=0.1))
    taken(made, [network.weight], gradients)
    x, r, c = start.clone(), torch.zeros(5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for t, (g,) in enumerate(gradients, 1):
        rho, beta2 = min(0.05, t**-0.5), 1 - t**-0.8
        alpha = max(1e-3, float(x.square().mean().sqrt())) * rho
        x = x * (1 - 0.05 * 0.1)
        r = beta2 * r + (1 - beta2) * g.square().mean(1)
        c = beta2 * c + (1 - beta2) * g.square().mean(0)
        u = g / (r[:, None] * c[None] / r.mean()).sqrt()
        x = x - alpha * u / max(1.0, float(u.square().mean().sqrt()))
    torch.testing.assert_close(network.weight.detach(), x, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ("adamv", "`training.optimizer` cannot be used: `adamv` is not a known optimizer, did you mean `adamw`?"),
        (
            {"muon": {"momentun": 0.9}},
            "`training.optimizer.muon.momentun` is not a known setting, did you mean `moment",
        ),
        ({"lion": {"momentum": 0.9}}, "`training.optimizer.lion.momentum` is not a known setting. Known: none."),
        ({"sgd": {"lr": 0.9}}, "`training.optimizer.sgd.lr` must not be there: it is set as `training.lr`"),
        ({"sgd": {"momentum": -1}}, "`training.optimizer` cannot make `sgd` from these settings"),
        ({"sgd": {"momentum": "much"}}, "`training.optimizer` cannot make `sgd` from these settings"),
        ({"torch.optim:RMSprop": {"alpa": 0.9}}, "is not a known setting, did you mean `alpha`?"),
        ("torch.optim:LBFGS", "`training.optimizer` cannot make `torch.optim:LBFGS`"),
        ("torch.optim:Adamm", "did you mean `Adam"),
        ("math:sqrt", "`training.optimizer` cannot make `math:sqrt`"),
        ("builtins:list", "makes a list"),
    ],
)
def test_bad_settings_are_one_line(optimizer: Any, words: str) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    with pytest.raises(SettingError) as caught:
        build_optimizer(network, TrainingConfig(optimizer=optimizer))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.path[:2] == ("training", "optimizer")


@pytest.mark.parametrize("optimizer", [3, ["adamw"], {"sgd": {}, "lion": {}}, {"sgd": 0.9}, None])
def test_what_is_no_name_and_no_mapping_is_refused(optimizer: Any) -> None:
    with pytest.raises(SettingError, match=r"optimizer.* must be a"):
        TrainingConfig(optimizer=optimizer)
