"""Schedules at the places that their papers name, and the optimizer's groups."""

from __future__ import annotations

import math

import pytest
import torch

from antiphon.config import AttentionConfig, ModelConfig, TrainingConfig
from antiphon.errors import ConfigError
from antiphon.models.build import build_network
from antiphon.registry import register
from antiphon.training.optim import build_optimizer, build_schedule


def rates(schedule: str, **settings: object) -> list[float]:
    made = build_schedule(TrainingConfig(schedule=schedule, lr=2.0, warmup_steps=10, max_steps=100, **settings))  # type: ignore[arg-type]
    return [made(step) for step in range(1, 101)]


@pytest.mark.parametrize("schedule", ["constant", "inverse_sqrt", "linear", "cosine", "wsd"])
def test_warm_up_is_a_line_to_the_peak(schedule: str) -> None:
    found = rates(schedule)
    assert found[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert max(found) == pytest.approx(2.0)
    assert all(rate > 0 for rate in found)


def test_after_warm_up() -> None:
    assert rates("constant")[-1] == 2.0
    assert rates("inverse_sqrt")[39] == pytest.approx(2.0 * math.sqrt(10 / 40))
    assert rates("linear")[54] == pytest.approx(2.0 * (1 - 45 / 91))
    assert rates("cosine")[54] == pytest.approx(1 + math.cos(math.pi * 45 / 91))
    wsd = rates("wsd")
    assert wsd[10:80] == [2.0] * 70 and wsd[90] == pytest.approx(2.0 * (1 - math.sqrt(11 / 21)))


def test_paper_equation_3() -> None:
    """lr = d_model^-0.5 · min(step^-0.5, step · warmup^-1.5)."""
    peak = 512**-0.5 * 4000**-0.5
    made = build_schedule(TrainingConfig(schedule="inverse_sqrt", lr=peak, warmup_steps=4000, max_steps=1))
    for step in (1, 4000, 100_000):
        assert made(step) == pytest.approx(512**-0.5 * min(step**-0.5, step * 4000**-1.5))


def test_a_schedule_that_needs_an_end_says_so() -> None:
    with pytest.raises(ConfigError, match=r"`training.schedule` needs `training.max_steps`.*where it is cosine"):
        build_schedule(TrainingConfig(schedule="cosine", max_epochs=3))


def test_one_of_ones_own() -> None:
    @register("schedule", "test-steps")
    def steps(step: int, *, lr: float, warmup_steps: int, max_steps: int | None) -> float:
        return lr / (1 + step // 10)

    assert build_schedule(TrainingConfig(schedule="test-steps", lr=1.0, max_steps=9))(25) == pytest.approx(1 / 3)
    with pytest.raises(ConfigError, match="did you mean `cosine`"):
        build_schedule(TrainingConfig(schedule="cosin", max_steps=9))


def test_only_linear_weights_decay() -> None:
    network = build_network(
        ModelConfig(preset="tiny", bias=True),
        AttentionConfig(decoder="relative"),
        source_vocab=9,
        target_vocab=9,
        shared=True,
    )
    decayed, kept = build_optimizer(network, TrainingConfig(weight_decay=0.1, max_steps=1)).param_groups
    assert decayed["weight_decay"] == 0.1 and kept["weight_decay"] == 0.0
    assert all(parameter.dim() == 2 for parameter in decayed["params"])
    ids = {id(parameter) for parameter in decayed["params"]}
    tables = [module.weight for module in network.modules() if isinstance(module, torch.nn.Embedding)]
    assert not ids & {id(table) for table in tables}
    assert len(decayed["params"]) + len(kept["params"]) == len(list(network.parameters()))
