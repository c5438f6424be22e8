"""What a run would take: the arithmetic over the figures that a trial measured."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.config import TrainConfig
    from antiphon.config.interval import Interval


@dataclass(frozen=True)
class Conditions:
    """How a trial went: the share of its time in which it waited for a processor, and what could not be measured.

    `unit` is what the tokens are: "frames and tokens" of sound and text.
    """

    waited_share: float
    notes: list[str]
    unit: str = "tokens"


@dataclass(frozen=True)
class Measured:
    """What a trial measured; seconds and bytes.

    `batches` is the number of micro-batches in an epoch of the `pairs` that were tried, `positions` the mean number of
    positions of one, padding included, `tokens` that of real tokens. Seconds leave out the waiting for a processor that
    other programs had (processor.py).
    """

    device: str
    parameters: int
    trainable: int
    max_length: int
    start_seconds: float
    step_seconds: float
    timed_steps: int
    validation_seconds: float
    save_seconds: float
    peak_bytes: int
    pairs: int
    batches: int
    positions: float
    tokens: float
    padding_waste: float
    conditions: Conditions


@dataclass(frozen=True)
class Estimate:
    """The time and memory of a run on this machine.

    `steps` is None if only `patience` ends the run; then the times are those of one epoch. `at_most`: the run may end
    earlier. `seconds` is all of it: the start, training, validations and snapshots.
    """

    measured: Measured
    steps: int | None
    epochs: float
    steps_per_epoch: float
    training_seconds: float
    validations: int
    validation_seconds: float
    saves: int
    save_seconds: float
    start_seconds: float
    at_most: bool
    accumulate: int

    @property
    def seconds(self) -> float:
        """The whole run."""
        return self.start_seconds + self.training_seconds + self.validation_seconds + self.save_seconds

    @property
    def tokens_per_second(self) -> float:
        """Real tokens of both sides that a second of training reads."""
        return self.measured.tokens * self.accumulate / self.measured.step_seconds

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {**asdict(self), "seconds": self.seconds, "tokens_per_second": self.tokens_per_second}


def estimated(config: TrainConfig, measured: Measured, *, pairs: int, start_scale: float) -> Estimate:
    """The estimate for a run over `pairs` pairs. `start_scale`: how many times as much data as in the trial is read."""
    training, validation = config.training, config.validation
    per_epoch = steps_per_epoch(config, batches=measured.batches * pairs / max(1, measured.pairs))
    ends = steps_of(config, per_epoch)
    ends += [60 * training.max_minutes / measured.step_seconds] if training.max_minutes is not None else []
    steps = math.ceil(min(ends)) if ends else None
    run = steps or math.ceil(per_epoch)
    validations = 0
    if config.data.valid is not None:
        validations = _times(validation.interval, run, per_epoch)
        validations += (training.average_last > 1) + (training.average_best > 1)
    saves = _times(training.saves, run, per_epoch)
    return Estimate(
        measured,
        steps,
        run / per_epoch,
        per_epoch,
        run * measured.step_seconds,
        validations,
        validations * measured.validation_seconds,
        saves,
        (saves + validations / 3) * measured.save_seconds,  # the best model has no state of the optimizer
        measured.start_seconds * start_scale,
        training.patience is not None,
        training.accumulate,
    )


def steps_per_epoch(config: TrainConfig, *, batches: float) -> float:
    """The optimizer steps of an epoch of `batches` micro-batches."""
    return max(1.0, batches / config.training.accumulate)


def steps_of(config: TrainConfig, per_epoch: float) -> list[float]:
    """The numbers of optimizer steps after which the run ends, however fast it is: at most two."""
    training = config.training
    ends = [float(training.max_steps)] if training.max_steps is not None else []
    return ends + ([math.ceil(training.max_epochs * per_epoch)] if training.max_epochs is not None else [])


def _times(interval: Interval, steps: int, per_epoch: float) -> int:
    """How often an interval ends within `steps`, and once more at the end of the run if none does there."""
    every = interval.count * (per_epoch if interval.unit == "epochs" else 1)
    return max(1, math.ceil(steps / every - 1e-9))
