"""Optimizers and learning-rate schedules by name.

    optimizer = build_optimizer(network, settings)
    rate = build_schedule(settings)        # step, counted from 1 -> learning rate

A custom schedule is a function `(step, *, lr, warmup_steps, max_steps) -> float`, registered with
`@register("schedule", "name")`. A custom optimizer is a function `(groups, *, lr, betas, weight_decay) ->
torch.optim.Optimizer` or an optimizer class, registered with `@register("optimizer", "name")`. It receives those of the
three settings that it accepts; its other parameters are set in a recipe: `optimizer: {name: {momentum: 0.9}}`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from antiphon.config import TrainingConfig
from antiphon.registry import lookup, nearest, register
from antiphon.settings import SettingError, saying
from antiphon.training import optimizers as _named  # noqa: F401 - registers them
from antiphon.training.groups import parameter_groups

WSD_DECAY_SHARE = 0.2  # the fraction of a warm-up, stable, decay run that decays
COMMON = ("lr", "betas", "weight_decay")  # settings of `training` passed to optimizers that accept them


def build_optimizer(
    network: nn.Module, settings: TrainingConfig, *, folder: Path | None = None
) -> torch.optim.Optimizer:
    """The optimizer of `settings` over `parameter_groups`, which also freezes parameters.

    SettingError for an unknown name, setting or value.
    """
    return optimizer_of(parameter_groups(network, settings), settings, folder=folder)


def optimizer_of(
    groups: list[dict[str, Any]], settings: TrainingConfig, *, folder: Path | None = None
) -> torch.optim.Optimizer:
    """The optimizer of `settings` over these groups; errors as those of `build_optimizer`."""
    name, own = settings.optimizer_name, settings.optimizer_settings
    factory, takes = find_optimizer(settings, folder=folder)
    common = {key: getattr(settings, key) for key in COMMON if takes is None or key in takes}
    try:
        with saying("training", "optimizer"):
            made = factory(groups, **common, **own)
    except SettingError:
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        problem = f"cannot make `{name}` from these settings: {' '.join(str(error).split()).rstrip('.')}"
        raise SettingError(("training", "optimizer"), problem) from error
    if not isinstance(made, torch.optim.Optimizer):
        problem = f"must make a torch.optim.Optimizer of (groups, *, lr, betas, weight_decay), but `{name}` makes a"
        raise SettingError(("training", "optimizer"), f"{problem} {type(made).__name__}")
    return made


def find_optimizer(
    settings: TrainingConfig, *, folder: Path | None = None
) -> tuple[Callable[..., Any], dict[str, inspect.Parameter] | None]:
    """The factory of the optimizer of `settings`, and its parameters besides the groups (None: anything).

    Needs no network. SettingError for an unknown name, or an unknown setting of the optimizer.
    """
    with saying("training", "optimizer"):
        factory = lookup("optimizer", settings.optimizer_name, folder=folder)
    takes = _parameters(factory)
    _check_settings(settings.optimizer_name, settings.optimizer_settings, takes)
    return factory, takes


def _parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """The parameters of a factory besides the groups, by name; None if it accepts any or has no signature."""
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name: parameter for parameter in parameters[1:] if parameter.kind in named}


def _check_settings(name: str, own: dict[str, Any], takes: dict[str, inspect.Parameter] | None) -> None:
    for key in own:
        if key in COMMON:
            raise SettingError(
                ("training", "optimizer", name, key), f"must not be there: it is set as `training.{key}`"
            )
        if takes is not None and key not in takes:
            known = [setting for setting in takes if setting not in COMMON]
            remedy = f"Known: {', '.join(known) or 'none'}."
            path = ("training", "optimizer", name, key)
            raise SettingError(path, "is not a known setting", hint=nearest(key, known), remedy=remedy)


def build_schedule(settings: TrainingConfig, *, folder: Path | None = None) -> Callable[[int], float]:
    """The learning rate as a function of the step, from 1. SettingError if it needs `max_steps` and there is none."""
    with saying("training", "schedule"):
        schedule = lookup("schedule", settings.schedule, folder=folder)
    if settings.max_steps is None and schedule in (cosine, linear, wsd):
        raise SettingError(
            ("training", "schedule"),
            f"needs `training.max_steps` to be set, where it is {settings.schedule}",
            remedy="Set it, or take inverse_sqrt or constant.",
        )
    return partial(schedule, lr=settings.lr, warmup_steps=settings.warmup_steps, max_steps=settings.max_steps)


def warmup(step: int, warmup_steps: int) -> float:
    """A factor that grows linearly to 1 over `warmup_steps`."""
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0


@register("schedule", "constant")
def constant(step: int, *, lr: float, warmup_steps: int, max_steps: int | None) -> float:
    """Warm-up, then constant `lr`."""
    return lr * warmup(step, warmup_steps)


@register("schedule", "inverse_sqrt")
def inverse_sqrt(step: int, *, lr: float, warmup_steps: int, max_steps: int | None) -> float:
    """Warm-up, then lr·sqrt(warmup_steps / step) (Vaswani et al. 2017, eq. 3, with its peak named)."""
    peak = max(1, warmup_steps)
    return lr * min(step / peak, math.sqrt(peak / step))


@register("schedule", "linear")
def linear(step: int, *, lr: float, warmup_steps: int, max_steps: int) -> float:
    """Warm-up, then linear decay, which reaches 0 after the last step."""
    return lr * warmup(step, warmup_steps) * (1 - _progress(step, warmup_steps, max_steps))


@register("schedule", "cosine")
def cosine(step: int, *, lr: float, warmup_steps: int, max_steps: int) -> float:
    """Warm-up, then half a cosine to 0 after the last step (Loshchilov and Hutter 2017, eq. 5, without restarts)."""
    return lr * warmup(step, warmup_steps) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup_steps, max_steps)))


@register("schedule", "wsd")
def wsd(step: int, *, lr: float, warmup_steps: int, max_steps: int) -> float:
    """Warm-up, constant, then decay by 1 − sqrt(progress) over the last fifth (Hägele et al. 2024, section 3.1)."""
    begin = max(warmup_steps, round(max_steps * (1 - WSD_DECAY_SHARE)))
    return lr * warmup(step, warmup_steps) * (1 - math.sqrt(_progress(step, begin, max_steps)))


def _progress(step: int, begin: int, max_steps: int) -> float:
    """The progress of `step` from `begin` to just after `max_steps`, in [0, 1)."""
    return min(1.0, max(0, step - begin) / max(1, max_steps + 1 - begin))
