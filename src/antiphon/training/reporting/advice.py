"""What can be known before training to go wrong, a line each: a warm-up that never ends, a batch that holds all the
data, rates that move nothing.

    for line in advice(config.training, schedule, batches_per_epoch=batches.batches_per_epoch, based=False): say(line)

Nothing is said of what is not known: how many steps a run has that ends by minutes or by patience, or by epochs over
streamed data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from antiphon.config import TrainingConfig
from antiphon.devices import bfloat16_note

SCHEDULES = ("constant", "inverse_sqrt", "linear", "cosine", "wsd")  # which have a warm-up; others may have none

# How far one step moves a weight at most, as a share of the rate. The update of Adam's kind is m / sqrt(v), about 1 at
# most for each weight (Kingma and Ba 2015, section 2.1); Lion's is a sign; Muon's has a spectral norm of about 1.
# Adafactor's is of the size of the weights (Shazeer and Stern 2018, section 8), here USUAL_WEIGHT. SGD's is the
# gradient, whose norm `clip_norm` bounds. Of another optimizer nothing is known.
USUAL_WEIGHT = 0.05  # of a linear layer of width 400 as it is initialised; those of pretrained models are alike
STEP_SIZES = {"adamw": 1.0, "muon": 1.0, "lion": 1.0, "schedule_free": 1.0, "adafactor": USUAL_WEIGHT}
# A run whose rates, all steps together, cannot move a weight by more than this share of USUAL_WEIGHT learns nothing
# that one could see. From scratch: a fiftieth (1e-3 in all: 1e-6 for 1,000 steps). From a base, where 1e-5 for 100
# steps (1e-3) is usual: a five-thousandth (1e-5).
LEAST_SHARE, LEAST_SHARE_OF_BASE = 1 / 50, 1 / 5000


def advice(
    settings: TrainingConfig,
    schedule: Callable[[int], float],
    *,
    batches_per_epoch: int | None,
    based: bool,
    device: torch.device | None = None,
) -> list[str]:
    """The lines to say before a run with these settings.

    `schedule` gives the rate of a step, from 1. `batches_per_epoch` is None where it is not known; `based`: the run
    begins with a model that has learned already; `device`: where it runs, if that is known.
    """
    steps = run_steps(settings, batches_per_epoch)
    found = [] if steps is None else [_warmup(settings, schedule, steps) or _rate(settings, schedule, steps, based)]
    return [line for line in (*found, _batch(settings, batches_per_epoch), _precision(settings, device)) if line]


def run_steps(settings: TrainingConfig, batches_per_epoch: int | None) -> int | None:
    """Steps of the run at most; None where they are not known."""
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
    if moved >= USUAL_WEIGHT * (LEAST_SHARE_OF_BASE if based else LEAST_SHARE):
        return None
    return (
        f"`training.lr` ({settings.lr:g}) moves next to nothing: all {_count(steps)} together move a weight by at most "
        f"{moved:.1g}, where weights are of the size of {USUAL_WEIGHT}; raise it, or train for longer."
    )


def _step_size(settings: TrainingConfig) -> float | None:
    """How far one step moves a weight at most, as a share of the rate; None where nothing bounds it."""
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
