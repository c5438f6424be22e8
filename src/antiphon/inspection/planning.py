"""A recipe as a run to plan: its network, a sample of its micro-batches, and the settings that decide memory and time.

planned_run(config, shape, epoch, pairs=pairs, read=read)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from antiphon.batch import Example
from antiphon.data.batching import padding_waste
from antiphon.inspection.estimate import steps_of, steps_per_epoch
from antiphon.inspection.scaling.flops import BatchShape
from antiphon.inspection.scaling.memory import MemorySettings
from antiphon.inspection.scaling.plan import PlannedRun
from antiphon.inspection.scaling.shape import NetworkShape

if TYPE_CHECKING:
    from antiphon.config import TrainConfig

SAMPLED = 400  # micro-batches of the sample


def batch_shape(batch: Sequence[Example]) -> BatchShape:
    """The sizes of a micro-batch of text."""
    source, target = (
        max(len(side) for side in sides) for sides in zip(*((one.source, one.target) for one in batch), strict=True)
    )
    return BatchShape(len(batch), source, target, sum(len(example.target) for example in batch))


def planned_run(
    config: TrainConfig,
    shape: NetworkShape,
    epoch: Sequence[Sequence[Example]],
    *,
    scale: float = 1.0,
    teacher: NetworkShape | None = None,
) -> PlannedRun:
    """The run of `config` with a network of `shape`. `epoch` are the micro-batches of one epoch of the data, or of a
    sample of it; then the epoch has `scale` times as many."""
    training = config.training
    ordered = sorted(map(batch_shape, epoch), key=lambda batch: batch.positions)
    count = min(SAMPLED, len(ordered))
    sample = [ordered[int((number + 0.5) * len(ordered) / count)] for number in range(count)]
    positions = sum(batch.positions for batch in ordered) / len(ordered)
    per_epoch = steps_per_epoch(config, batches=len(epoch) * scale)
    ends = steps_of(config, per_epoch)
    minutes = training.max_minutes
    if not ends and minutes is None:
        ends = [per_epoch]  # only `patience` ends it: the time of an epoch
    return PlannedRun(
        shape=shape,
        batches=sample,
        largest=ordered[-1],
        tokens=positions * (1 - padding_waste(epoch)),
        steps=min(ends, default=None),
        accumulate=training.accumulate,
        settings=MemorySettings(
            optimizer=training.optimizer_name,
            optimizer_settings=training.optimizer_settings,
            half=training.precision == "bfloat16",
            checkpoint=training.checkpoint_activations,
            ema=training.ema > 0,
            mixout=training.mixout > 0,
            passes=2 if training.r_drop else 1,
            teacher=0 if teacher is None else teacher.parameters,
            offload=training.cpu_offload,
        ),
        teacher=teacher,
        max_seconds=None if minutes is None else 60 * minutes,
        parallel=training.parallel,
        shard_within=training.shard_within,
    )
