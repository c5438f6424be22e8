"""Warnings about settings that will not train well: a warm-up that never ends, a batch that holds all the data,
learning rates too small to have an effect.

    for line in advice(config.training, schedule, batches_per_epoch=batches.batches_per_epoch, based=False): say(line)

There is no warning where the number of steps is unknown in advance: runs that end by minutes or patience, or by epochs
over streamed data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from antiphon.config import TrainingConfig
from antiphon.devices import bfloat16_note

SCHEDULES = ("constant", "inverse_sqrt", "linear", "cosine", "wsd")  # known to have a warm-up

# The largest change of a weight in one step, as a multiple of the rate. Adam's update is m / sqrt(v), at most about 1
# for each weight (Kingma and Ba 2015, section 2.1); Lion's is a sign; Muon's has a spectral norm of about 1.
# Adafactor's is relative to the size of the weights (Shazeer and Stern 2018, section 8), here USUAL_WEIGHT. SGD's is
# the gradient, whose norm is bounded by `clip_norm`. For other optimizers no bound is known.
USUAL_WEIGHT = 0.05  # a weight of a freshly initialized linear layer of width 400; pretrained ones are similar
STEP_SIZES = {"adamw": 1.0, "muon": 1.0, "lion": 1.0, "schedule_free": 1.0, "adafactor": USUAL_WEIGHT}
# A run whose steps together cannot change a weight by more than this fraction of USUAL_WEIGHT has no visible effect.
# From scratch: 1/50 (a change of 1e-3 in total, for example 1,000 steps at 1e-6). From a base, where 100 steps at 1e-5
# (1e-3 in total) are common: 1/5000 (1e-5 in total).
MIN_RELATIVE_CHANGE, MIN_RELATIVE_CHANGE_OF_BASE = 1 / 50, 1 / 5000


def advice(
    settings: TrainingConfig,
    schedule: Callable[[int], float],
    *,
    batches_per_epoch: int | None,
    based: bool,
    device: torch.device | None = None,
) -> list[str]:
    """The warnings for a run with these settings, one line each.

    `schedule` returns the rate of a step, from 1. `batches_per_epoch` is None if unknown. `based`: the run starts from
    a pretrained model. `device`: where it runs, if known.
    """
    steps = run_steps(settings, batches_per_epoch)
    found = [] if steps is None else [_warmup(settings, schedule, steps) or _rate(settings, schedule, steps, based)]
    return [line for line in (*found, _batch(settings, batches_per_epoch), _precision(settings, device)) if line]


def run_steps(settings: TrainingConfig, batches_per_epoch: int | None) -> int | None:
    """The maximum number of steps of the run; None if unknown."""
    ends = [] if settings.max_steps is None else [settings.max_steps]
    if settings.max_epochs is not None and batches_per_epoch is not None:
        ends.append(math.ceil(settings.max_epochs * batches_per_epoch / settings.accumulate))
    return min(ends) if ends else None


def _warmup(settings: TrainingConfig, schedule: Callable[[int], float], steps: int) -> str | None:
    asked = settings.warmup_steps
    if settings.schedule not in SCHEDULES or asked < steps or asked < 2:
        return None
    highest = max(map(schedule, range(1, steps + 1)))
    if asked == steps:
        problem = f"is as long as the run ({_count(steps)}), so the rate only rises"
    else:
        problem = f"is longer than the run ({_count(steps)}), so the rate never reaches its peak"
    return (
        f"`training.warmup_steps` ({asked}) {problem} ({settings.lr:g}; the highest is {highest:.2g}); lower it, for "
        f"example to {max(0, steps // 10)}."
    )


def _rate(settings: TrainingConfig, schedule: Callable[[int], float], steps: int, based: bool) -> str | None:
    size = _step_size(settings)
    if size is None:
        return None
    scale = max([1.0, *(group.lr_scale for group in settings.groups)])
    moved = size * scale * math.fsum(map(schedule, range(1, steps + 1)))
    if moved >= USUAL_WEIGHT * (MIN_RELATIVE_CHANGE_OF_BASE if based else MIN_RELATIVE_CHANGE):
        return None
    return (
        f"`training.lr` ({settings.lr:g}) has almost no effect: all {_count(steps)} together change a weight by at "
        f"most {moved:.1g}, and weights are of the size of {USUAL_WEIGHT}; raise it, or train for longer."
    )


def _step_size(settings: TrainingConfig) -> float | None:
    """The largest change of a weight in one step, as a multiple of the rate; None if it is not bounded."""
    if settings.optimizer_name != "sgd":
        return STEP_SIZES.get(settings.optimizer_name)
    momentum = settings.optimizer_settings.get("momentum", 0.9)
    known = isinstance(momentum, int | float) and 0 <= momentum < 1
    return settings.clip_norm / (1 - momentum) if known and settings.clip_norm else None


def _batch(settings: TrainingConfig, batches_per_epoch: int | None) -> str | None:
    if batches_per_epoch is None or batches_per_epoch > settings.accumulate:
        return None
    batches = "one micro-batch" if batches_per_epoch == 1 else f"{batches_per_epoch} micro-batches"
    times = settings.accumulate / batches_per_epoch
    each = "reads all of it" if times == 1 else f"reads all of it {times:g} times"
    names = f"`training.batch_tokens` ({settings.batch_tokens})"
    if settings.accumulate > 1:
        names += f" or `training.accumulate` ({settings.accumulate})"
    return f"the data is {batches}, so each step {each}; lower {names} for more steps an epoch."


def _precision(settings: TrainingConfig, device: torch.device | None) -> str | None:
    if settings.precision != "bfloat16" or device is None or not (note := bfloat16_note(device)):
        return None
    return f"`training.precision` is bfloat16, but {note}"


def _count(steps: int) -> str:
    return f"{steps} step{'s' if steps != 1 else ''}"
