"""The choice between DDP and FSDP2, by setting or by an estimate of the memory, and what is refused before training.

parallel, notes = parallelize(network, settings, world, batches.peek, pad_id=0, start_id=1)
optimizer = build_optimizer(parallel.network, settings)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from antiphon.batch import Batch, Example, collate
from antiphon.config import TrainingConfig
from antiphon.distributed.agreement import exchange
from antiphon.distributed.world import World
from antiphon.errors import ConfigError, memory_ran_out
from antiphon.models.footprint import available_bytes
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import count_parameters
from antiphon.training.parallel.single import SingleProcess
from antiphon.training.parallel.trial import NetworkTrial, try_network
from antiphon.training.parallel.updates import check_shardable, state_bytes

TRIAL_ROWS = 4  # of the batch whose activations are measured
USABLE = 0.9  # of the available memory: the rest is for buckets, fragments and the libraries
GB = 1e9


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The bytes of a rank with DDP: `state` are weights, gradients, moments and the moving average."""

    state: float
    activations: float

    @property
    def total(self) -> float:
        return self.state + self.activations

    def __str__(self) -> str:
        return f"{self.total / GB:.2f} GB ({self.activations / GB:.2f} GB of them activations)"


def parallelize(
    network: EncoderDecoder,
    settings: TrainingConfig,
    world: World,
    sample: Callable[[], list[Example]],
    *,
    pad_id: int,
    start_id: int,
    folder: Path | None = None,
) -> tuple[SingleProcess, tuple[str, ...]]:
    """How `network` trains on the ranks of `world`, and messages for the log. `sample` gives examples of the data.

    ConfigError for a network or an optimizer that cannot be dealt, before anything is trained.
    """
    if world.size == 1:
        note = "fsdp has nothing to shard in one process, which trains as always"
        return SingleProcess(network, settings, world), (note,) if settings.parallel == "fsdp" else ()
    batch = collate(sample()[:TRIAL_ROWS], pad_id=pad_id, start_id=start_id).to(network.device)
    trial = _tried(network, batch, settings)
    exchange(world, None)  # it may fail on one rank
    chosen, notes = _chosen(network, settings, world, trial, folder)
    notes += _uneven(settings, world)
    if chosen == "fsdp":
        from antiphon.training.parallel.fsdp import FullySharded

        return FullySharded(network, settings, world), notes
    for name in ("shard_within", "cpu_offload"):
        if getattr(settings, name) in ("world", False):
            continue
        if settings.parallel == "ddp":
            raise ConfigError(
                f"`training.{name}` needs `training.parallel` to be fsdp, but it is ddp. Drop one of them."
            )
        notes += (f"`training.{name}` is not used: it belongs to fsdp",)
    from antiphon.training.parallel.ddp import DataParallel

    return DataParallel(network, settings, world, unused=trial is not None and trial.unused), notes


def _tried(network: EncoderDecoder, batch: Batch, settings: TrainingConfig) -> NetworkTrial | None:
    """A trial of the network; None if not even a few rows fit the memory."""
    try:
        return try_network(network, batch, settings)
    except (RuntimeError, MemoryError) as error:
        if not memory_ran_out(error):
            raise
    for parameter in network.parameters():
        parameter.grad = None
    return None


def _chosen(
    network: EncoderDecoder, settings: TrainingConfig, world: World, trial: NetworkTrial | None, folder: Path | None
) -> tuple[str, tuple[str, ...]]:
    """ddp or fsdp, and why. All ranks choose the same."""
    if settings.parallel == "fsdp":
        check_shardable(settings, world, network.device, folder=folder)
    if settings.parallel != "auto":
        return settings.parallel, (f"{settings.parallel} on {world.size} ranks",)
    estimate = None if trial is None else estimated(network, settings, trial, folder=folder)
    there = available_bytes(network.device)
    if there is not None and network.device.type == "cpu":
        there //= world.local_size  # they share one memory
    fits = estimate is not None and (there is None or estimate.total <= USABLE * there)
    fits = all(exchange(world, fits))
    needs = "needs more than there is" if estimate is None else f"needs {estimate}"
    free = "" if there is None else f" of {there / GB:.2f} GB for each"
    if fits:
        return "ddp", (f"ddp on {world.size} ranks: a rank {needs}{free}, estimated",)
    check_shardable(settings, world, network.device, folder=folder)
    return "fsdp", (f"fsdp on {world.size} ranks: with ddp a rank {needs}{free}, estimated",)


def estimated(
    network: EncoderDecoder, settings: TrainingConfig, trial: NetworkTrial, *, folder: Path | None = None
) -> MemoryEstimate:
    """The memory of a rank with DDP, from measured bytes of the optimizer's state and of a position's activations."""
    size = network.output.weight.element_size()
    learned = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    state = size * (count_parameters(network) + learned) + state_bytes(settings, folder=folder) * learned
    state += size * learned * (settings.ema > 0)
    passes = 2 if settings.r_drop else 1
    return MemoryEstimate(state, trial.activation_bytes * 2 * settings.batch_tokens * passes)


def _uneven(settings: TrainingConfig, world: World) -> tuple[str, ...]:
    """A warning if some ranks have nothing to do for a part of each step."""
    rounds = -(-settings.accumulate // world.size)
    idle = 1 - settings.accumulate / (rounds * world.size)
    if not idle:
        return ()
    return (
        f"`training.accumulate` is {settings.accumulate}, no multiple of the {world.size} ranks, which so wait for "
        f"{idle:.0%} of the time; take {rounds * world.size}",
    )
