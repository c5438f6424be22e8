"""The range of the loss: a divergence is found in some blocks, spikes and normal curves are none, the state resumes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest
from counts import count

from antiphon.training.guards.loss_range import BLOCK, CONFIRMING, Divergence, LossRange

RISE = 0.5


def first_alarm(losses: Iterator[float] | list[float], rise: float = RISE) -> Divergence | None:
    known = LossRange()
    return next((hit for step, loss in enumerate(losses, 1) if (hit := known.add(loss, step=step, rise=rise))), None)


def curve(steps: int, *, start: float, floor: float, power: float, noise: float, seed: int) -> list[float]:
    """A power law that falls from `start` to `floor`, under noise of losses of batches of different sentences."""
    chance = random.Random(seed)
    return [
        max(0.0, floor + (start - floor) * (1 + step / 50) ** -power) * math.exp(noise * chance.gauss(0, 1))
        for step in range(steps)
    ]


def with_spikes(losses: list[float], seed: int) -> list[float]:
    """Spikes of 1 to 12 steps, up to 3 times the loss, every 200 steps or so."""
    chance, found, left, height = random.Random(seed), [], 0, 1.0
    for loss in losses:
        if not left and chance.random() < 1 / 200:
            left, height = chance.randrange(1, 13), 1 + 2 * chance.random()
        found.append(loss * height if left else loss)
        left = max(0, left - 1)
    return found


def test_a_jump_is_found_in_some_blocks_and_named() -> None:
    losses = curve(1000, start=9, floor=2, power=0.7, noise=0.05, seed=0) + [7.0] * 200
    found = first_alarm(losses)
    assert found is not None and 1000 < found.step <= 1000 + (CONFIRMING + 1) * BLOCK
    assert found.began == 1001 and found.level == 7.0 and 2 < found.lowest < 3 < found.end < 7


def test_a_creeping_divergence_is_found() -> None:
    losses = curve(1000, start=9, floor=2, power=0.7, noise=0.05, seed=0)
    losses += [losses[-1] * (1 + step / 200) for step in range(400)]
    found = first_alarm(losses)
    assert found is not None and found.step < 1300


def test_the_range_can_be_switched_off() -> None:
    assert first_alarm([2.0] * 200 + [900.0] * 200, rise=0) is None
    assert first_alarm([2.0] * 200 + [900.0] * 200) is not None


CURVES: dict[str, Callable[[int], list[float]]] = {
    "from scratch": lambda seed: curve(3000, start=9.5, floor=1.2, power=0.6, noise=0.08, seed=seed),
    "tiny batches": lambda seed: curve(3000, start=7, floor=0.3, power=0.8, noise=0.9, seed=seed),
    "fine-tuning": lambda seed: curve(1500, start=1.4, floor=1.2, power=0.3, noise=0.15, seed=seed),
    "nearly perfect": lambda seed: curve(3000, start=6, floor=0.001, power=2.5, noise=1.2, seed=seed),
    "spikes": lambda seed: with_spikes(curve(3000, start=9, floor=2, power=0.6, noise=0.08, seed=seed), seed),
    "slow waves": lambda seed: [
        loss * (1 + 0.12 * math.sin(step / 150 + seed))
        for step, loss in enumerate(curve(3000, start=9, floor=2, power=0.6, noise=0.08, seed=seed))
    ],
}


@pytest.mark.parametrize("name", CURVES)
def test_normal_curves_raise_no_alarm(name: str) -> None:
    for seed in range(count("loss_curves")):
        assert first_alarm(CURVES[name](seed)) is None, f"{name}, seed {seed}"


def test_a_resumed_range_decides_alike() -> None:
    losses = curve(500, start=9, floor=2, power=0.7, noise=0.3, seed=1) + [9.0] * 100
    whole = LossRange()
    wanted = [whole.add(loss, step=step, rise=RISE) for step, loss in enumerate(losses, 1)]
    assert any(wanted) and not all(wanted)
    found, known = [], LossRange()
    for step, loss in enumerate(losses, 1):
        known = LossRange(**json.loads(json.dumps(asdict(known))))  # as through a snapshot at each step
        found.append(known.add(loss, step=step, rise=RISE))
    assert found == wanted


def test_the_safe_step_is_before_the_last_block_in_range() -> None:
    known = LossRange()
    for step in range(1, 10 * BLOCK + 1):
        known.add(2.0, step=step, rise=RISE)
    assert known.safe_step == 9 * BLOCK
    for step in range(10 * BLOCK + 1, 11 * BLOCK + 1):
        assert known.add(9.0, step=step, rise=RISE) is None
    assert known.safe_step == 9 * BLOCK and known.above == 1
    for step in range(11 * BLOCK + 1, 12 * BLOCK + 1):  # it was a spike
        known.add(2.0, step=step, rise=RISE)
    assert known.safe_step == 11 * BLOCK and known.above == 0
