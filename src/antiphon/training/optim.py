"""Optimizers and learning-rate schedules by name.

    optimizer = build_optimizer(network, settings)
    rate = build_schedule(settings)        # step, counted from 1 -> learning rate

A schedule of one's own: `register("schedule", "name")` above a function `(step, *, lr, warmup_steps, max_steps) ->
float`; an optimizer: `register("optimizer", "name")` above a function `(groups, *, lr, betas, weight_decay) ->
torch.optim.Optimizer`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from antiphon.config import TrainingConfig
from antiphon.errors import ConfigError
from antiphon.registry import lookup, register

WSD_DECAY_SHARE = 0.2  # the last part of a warm-up, stable, decay run


@register("optimizer", "adamw")
def adamw(
    groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), ε = 1e-9 as Vaswani et al. 2017; one kernel a group if the device has it."""
    return torch.optim.AdamW(groups, lr=lr, betas=betas, weight_decay=weight_decay, eps=1e-9, fused=True)


def build_optimizer(
    network: nn.Module, settings: TrainingConfig, *, folder: Path | None = None
) -> torch.optim.Optimizer:
    """The optimizer of `settings` over two groups: weights of linear layers, which decay, and others, which do not."""
    factory = lookup("optimizer", settings.optimizer, folder=folder)
    linear = {id(module.weight) for module in network.modules() if isinstance(module, nn.Linear)}
    decayed = [parameter for parameter in network.parameters() if id(parameter) in linear]
    kept = [parameter for parameter in network.parameters() if id(parameter) not in linear]
    groups = [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]
    try:
        return factory(
            [group for group in groups if group["params"]],
            lr=settings.lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
    except TypeError as error:
        raise ConfigError(
            f"`training.optimizer: {settings.optimizer}` must take (groups, *, lr, betas, weight_decay), but: {error}."
        ) from error


def build_schedule(settings: TrainingConfig, *, folder: Path | None = None) -> Callable[[int], float]:
    """The learning rate by step, counted from 1. ConfigError for one that needs the number of steps and has none."""
    schedule = lookup("schedule", settings.schedule, folder=folder)
    if settings.max_steps is None and schedule in (cosine, linear, wsd):
        raise ConfigError(
            f"`training.schedule: {settings.schedule}` needs `training.max_steps`, which is not set. "
            "Set it, or take inverse_sqrt or constant."
        )
    return partial(schedule, lr=settings.lr, warmup_steps=settings.warmup_steps, max_steps=settings.max_steps)


def warmup(step: int, warmup_steps: int) -> float:
    """A factor that grows linearly to 1 in `warmup_steps`."""
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0


@register("schedule", "constant")
def constant(step: int, *, lr: float, warmup_steps: int, max_steps: int | None) -> float:
    """Warm-up, then `lr`."""
    return lr * warmup(step, warmup_steps)


@register("schedule", "inverse_sqrt")
def inverse_sqrt(step: int, *, lr: float, warmup_steps: int, max_steps: int | None) -> float:
    """Warm-up, then lr·sqrt(warmup_steps / step) (Vaswani et al. 2017, eq. 3, with its peak named)."""
    peak = max(1, warmup_steps)
    return lr * min(step / peak, math.sqrt(peak / step))


@register("schedule", "linear")
def linear(step: int, *, lr: float, warmup_steps: int, max_steps: int) -> float:
    """Warm-up, then a line to 0 behind the last step."""
    return lr * warmup(step, warmup_steps) * (1 - _progress(step, warmup_steps, max_steps))


@register("schedule", "cosine")
def cosine(step: int, *, lr: float, warmup_steps: int, max_steps: int) -> float:
    """Warm-up, then half a cosine to 0 behind the last step (Loshchilov and Hutter 2017, eq. 5, without restarts)."""
    return lr * warmup(step, warmup_steps) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup_steps, max_steps)))


@register("schedule", "wsd")
def wsd(step: int, *, lr: float, warmup_steps: int, max_steps: int) -> float:
    """Warm-up, stable, then 1 − sqrt of the way through the last fifth (Hägele et al. 2024, section 3.1)."""
    begin = max(warmup_steps, round(max_steps * (1 - WSD_DECAY_SHARE)))
    return lr * warmup(step, warmup_steps) * (1 - math.sqrt(_progress(step, begin, max_steps)))


def _progress(step: int, begin: int, max_steps: int) -> float:
    """How far `step` is from `begin` to just behind `max_steps`, in [0, 1)."""
    return min(1.0, max(0, step - begin) / max(1, max_steps + 1 - begin))
