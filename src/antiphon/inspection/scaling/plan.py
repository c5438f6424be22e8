"""The plan of a run on other machines: what fits, which sharding, how long, and what it costs.

    plan = plan_run(run, read_cluster("64xH200"))
    plan.chosen.sharding, plan.chosen.step.total, plan.seconds, plan.gpu_hours

Every way of sharding is tried, from the simplest; the fastest that fits is chosen, and of those within 10 % of it the
simplest. All figures are computed from data sheets and say so.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from antiphon.errors import ConfigError
from antiphon.inspection.scaling.activations import ActivationSettings, activation_bytes
from antiphon.inspection.scaling.communication import Sharding, Traffic, step_traffic
from antiphon.inspection.scaling.devices import Cluster
from antiphon.inspection.scaling.flops import BatchShape, Flops, count_flops
from antiphon.inspection.scaling.memory import GpuMemory, MemorySettings, gpu_memory, optimizer_bytes
from antiphon.inspection.scaling.shape import NetworkShape
from antiphon.inspection.scaling.step_time import (
    CHUNK_KERNELS,
    DECODER_KERNELS,
    ENCODER_KERNELS,
    OTHER_KERNELS,
    StepLoad,
    StepSeconds,
    step_seconds,
    update_bytes,
)
from antiphon.nn.loss import chunk_rows

# Published runs since 2022 took from 0.9 to 1.35 times as long as is computed for them (docs/scaling.md).
SHORTEST, LONGEST = 0.9, 1.35
UNSHARDABLE = ("adafactor",)  # optimizers that FSDP2 cannot shard (training/parallel/updates.py tries it)
DRAWS = 20_000  # micro-batches that are drawn to see how much longer than a mean one the slowest rank takes
SIMPLER = 1.1  # a simpler way is chosen if it takes at most so many times as long as the fastest


@dataclass(frozen=True)
class PlannedRun:
    """A run: its network, a sample of its micro-batches, and the settings that decide memory and time.

    `largest` is the micro-batch with the most positions, `tokens` the real tokens of a mean one, both sides. `steps` is
    the number of optimizer steps of `accumulate` micro-batches; None if only `max_seconds` end the run. `teacher`: the
    network of distillation. `parallel` (auto, ddp, fsdp) and `shard_within` (world, node): what the recipe says.
    """

    shape: NetworkShape
    batches: Sequence[BatchShape]
    largest: BatchShape
    tokens: float
    steps: float | None
    accumulate: int
    settings: MemorySettings
    teacher: NetworkShape | None = None
    max_seconds: float | None = None
    parallel: str = "auto"
    shard_within: str = "world"


@dataclass(frozen=True)
class RunOption:
    """One way to run: its sharding, whether activations are computed again and the state is on the host, the memory of
    a GPU, what a rank sends, and the seconds of a step. `imbalance`: how many times as long as a mean rank the slowest
    one computes, since micro-batches differ."""

    sharding: Sharding
    checkpoint: bool
    offload: bool
    memory: GpuMemory
    traffic: Traffic
    step: StepSeconds
    imbalance: float
    fits: bool

    def __str__(self) -> str:
        extras = ["activation checkpointing"] * self.checkpoint + ["CPU offload"] * self.offload
        return ", ".join([str(self.sharding.value), *extras])

    @property
    def recipe(self) -> str:
        """What a recipe says for it, as YAML in one line."""
        said = {Sharding.DDP: "parallel: ddp", Sharding.FSDP: "parallel: fsdp", Sharding.HYBRID: "parallel: fsdp"}
        parts = [said[self.sharding]] if self.sharding in said else []
        parts += ["shard_within: node"] * (self.sharding is Sharding.HYBRID)
        parts += ["checkpoint_activations: true"] * self.checkpoint + ["cpu_offload: true"] * self.offload
        return f"{{{', '.join(parts)}}}"


@dataclass(frozen=True)
class RunPlan:
    """The result. `chosen` is None if nothing fits. `busy` GPUs have work: a step has `accumulate` micro-batches.
    `flops` are those of a mean micro-batch, `tokens` its real tokens. `price` is that of a GPU hour. `wider`: if some
    GPUs have no work, the plan for the same data with as many micro-batches a step as give each of them work."""

    cluster: Cluster
    options: list[RunOption]
    chosen: RunOption | None
    flops: Flops
    busy: int
    accumulate: int
    planned_steps: float | None
    tokens: float
    max_seconds: float | None = None
    price: float | None = None
    wider: RunPlan | None = None

    @property
    def seconds(self) -> float:
        """Training, without validations, snapshots and the start; 0 if nothing fits."""
        return self._lasting(1.0)

    def _lasting(self, factor: float) -> float:
        """The seconds if a step takes `factor` times as long as is computed."""
        if self.chosen is None:
            return 0.0
        ends = [] if self.max_seconds is None else [self.max_seconds]
        ends += [] if self.planned_steps is None else [self.planned_steps * self.chosen.step.total * factor]
        return min(ends, default=0.0)

    @property
    def steps(self) -> float:
        """The optimizer steps of these seconds."""
        return 0.0 if self.chosen is None else self.seconds / self.chosen.step.total

    @property
    def range(self) -> tuple[float, float]:
        """The seconds from low to high, by what published runs took; `max_seconds` end the run in any case."""
        return self._lasting(SHORTEST), self._lasting(LONGEST)

    @property
    def tokens_per_second(self) -> float:
        """Real tokens of both sides that all GPUs read in a second."""
        return 0.0 if self.chosen is None else self.tokens * self.accumulate / self.chosen.step.total

    @property
    def gpu_hours(self) -> float:
        """Hours of all GPUs, busy or not."""
        return self.seconds * self.cluster.devices / 3600

    @property
    def gpu_hours_range(self) -> tuple[float, float]:
        """The hours from low to high."""
        low, high = (seconds * self.cluster.devices / 3600 for seconds in self.range)
        return low, high

    @property
    def utilization(self) -> float:
        """The share of the peak rate of the busy GPUs that model operations take."""
        if self.chosen is None:
            return 0.0
        peak = self.cluster.device.matrix * self.busy
        return self.flops.model * self.accumulate / (self.chosen.step.total * peak)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        cost = None if self.price is None else self.gpu_hours * self.price
        options = [
            {
                "name": str(option),
                "training": option.recipe,
                "sharding": option.sharding.name.lower(),
                "checkpoint_activations": option.checkpoint,
                "cpu_offload": option.offload,
                "fits": option.fits,
                "memory_bytes": option.memory.total,
                "memory": option.memory.parts,
                "validation_bytes": option.memory.validation,
                "host_bytes": option.memory.host,
                "sent_bytes": option.traffic.bytes,
                "collectives": option.traffic.collectives,
                "imbalance": option.imbalance,
                "step": {**asdict(option.step), "total": option.step.total, "bound": option.step.bound},
            }
            for option in self.options
        ]
        return {
            "world": {"name": str(self.cluster), "nodes": self.cluster.nodes, "per_node": self.cluster.per_node},
            "device": asdict(self.cluster.device),
            "computed": True,
            "error_factors": [SHORTEST, LONGEST],
            "options": options,
            "chosen": None if self.chosen is None else str(self.chosen),
            "busy": self.busy,
            "accumulate": self.accumulate,
            "steps": self.steps,
            "flops": asdict(self.flops),
            "seconds": self.seconds,
            "seconds_low": self.range[0],
            "seconds_high": self.range[1],
            "tokens_per_second": self.tokens_per_second,
            "utilization": self.utilization,
            "gpu_hours": self.gpu_hours,
            "price_per_hour": self.price,
            "cost": cost,
            "wider": None if self.wider is None else self.wider.as_dict(),
        }


def plan_run(run: PlannedRun, cluster: Cluster, *, price: float | None = None) -> RunPlan:
    """The plan of `run` on `cluster`. `price`: that of a GPU hour. ConfigError if the recipe allows no way."""
    options = [evaluate(run, cluster, *way) for way in _ways(run, cluster)]
    if not options:
        raise _no_way(run)
    fitting = [option for option in options if option.fits]
    chosen = None
    if fitting:
        least = min(option.step.total for option in fitting)
        chosen = next(option for option in fitting if option.step.total <= SIMPLER * least)
    flops = mean_flops(run, checkpoint=chosen.checkpoint if chosen else run.settings.checkpoint)
    busy = min(cluster.devices, run.accumulate)
    wider = None
    if busy < cluster.devices:
        rounds = -(-cluster.devices // run.accumulate)
        steps = None if run.steps is None else run.steps / rounds
        wider = plan_run(replace(run, accumulate=run.accumulate * rounds, steps=steps), cluster, price=price)
    known = (busy, run.accumulate, run.steps, run.tokens, run.max_seconds, price, wider)
    return RunPlan(cluster, options, chosen, flops, *known)


def _no_way(run: PlannedRun) -> ConfigError:
    if run.parallel == "ddp":
        return ConfigError(
            "`training.cpu_offload` needs `training.parallel` to be fsdp, but it is ddp. Drop one of them."
        )
    asked = "parallel: fsdp" if run.parallel == "fsdp" else "cpu_offload: true"
    return ConfigError(
        f"`training.optimizer` must be one that FSDP2 can shard with `training.{asked}`, but is "
        f"{run.settings.optimizer}. Take adamw, lion, muon, sgd or schedule_free, or drop `{asked}`."
    )


def _ways(run: PlannedRun, cluster: Cluster) -> list[tuple[Sharding, bool, bool]]:
    """Ways to run that the recipe leaves open, the simplest first: the sharding, with checkpointing or not, with
    offload or not."""
    if cluster.devices == 1:
        ways = [(Sharding.ONE, checkpoint, False) for checkpoint in (False, True)]
    else:
        sharded = [Sharding.HYBRID] * (cluster.nodes > 1 and cluster.per_node > 1)
        sharded += [Sharding.FSDP] * (run.shard_within == "world" or not sharded)
        if run.settings.optimizer in UNSHARDABLE or run.parallel == "ddp":
            sharded = []
        plain = [Sharding.DDP] * (run.parallel != "fsdp" and not run.settings.offload)
        ways = [(way, again, run.settings.offload) for again in (False, True) for way in [*plain, *sharded]]
        ways += [(sharded[-1], True, True)] if sharded and not run.settings.offload else []
    return [way for way in ways if way[1] or not run.settings.checkpoint]


def evaluate(run: PlannedRun, cluster: Cluster, sharding: Sharding, checkpoint: bool, offload: bool) -> RunOption:
    """One way to run `run` on `cluster`."""
    settings = replace(run.settings, checkpoint=checkpoint, offload=offload)
    memory = gpu_memory(run.shape, run.largest, settings, sharding, cluster)
    rounds = -(-run.accumulate // min(cluster.devices, run.accumulate))
    traffic = step_traffic(run.shape, sharding, cluster, micro_batches=rounds, half=settings.half)
    slowest = imbalance(run, min(cluster.devices, run.accumulate), rounds)
    step = step_seconds(_load(run, settings, sharding, cluster, rounds), traffic, sharding, cluster, slowest=slowest)
    fits = memory.total <= cluster.device.memory
    return RunOption(sharding, checkpoint, offload, memory, traffic, step, slowest, fits)


def imbalance(run: PlannedRun, ranks: int, rounds: int) -> float:
    """How many times as long as a mean rank the slowest of `ranks` computes, each with `rounds` micro-batches of the
    sample: a mean over random draws, the same in every call."""
    costs = [count_flops(run.shape, batch).training for batch in run.batches]
    mean = sum(costs) / len(costs)
    if ranks == 1 or max(costs) <= 1.001 * mean:
        return 1.0
    draw, trials = random.Random(0), max(5, DRAWS // (ranks * rounds))
    slowest = (max(sum(draw.choices(costs, k=rounds)) for _ in range(ranks)) for _ in range(trials))
    return sum(slowest) / (trials * rounds * mean)


def _load(run: PlannedRun, settings: MemorySettings, sharding: Sharding, cluster: Cluster, rounds: int) -> StepLoad:
    flops = mean_flops(run, checkpoint=settings.checkpoint)
    stored = ActivationSettings(half=settings.half, fused=True, passes=settings.passes)
    touched = sum(activation_bytes(run.shape, batch, stored).touched for batch in run.batches) / len(run.batches)
    shards = sharding.shards(cluster)
    learned = run.shape.trainable / shards
    state = optimizer_bytes(run.shape, settings.optimizer, settings.optimizer_settings) / shards
    again = 4 / 3 if settings.checkpoint else 1.0
    kernels = len(run.shape.encoder) * ENCODER_KERNELS + len(run.shape.decoder) * DECODER_KERNELS
    labels = sum(batch.labels for batch in run.batches) / len(run.batches)
    chunks = CHUNK_KERNELS * (-(-labels // chunk_rows(run.shape.table)) - 1)
    return StepLoad(
        flops=flops.training,
        forward_share=flops.forward / flops.training,
        touched=touched * again,
        kernels=kernels * again + OTHER_KERNELS + chunks,
        micro_batches=rounds,
        update_bytes=update_bytes(learned, state, ema=settings.ema),
        half=settings.half,
        offloaded=4 * run.shape.parameters / shards if settings.offload else 0.0,
    )


def mean_flops(run: PlannedRun, *, checkpoint: bool) -> Flops:
    """The operations of a mean micro-batch of the run."""
    found = []
    for batch in run.batches:
        taught = 0.0 if run.teacher is None else count_flops(run.teacher, batch).forward
        found.append(count_flops(run.shape, batch, checkpoint=checkpoint, passes=run.settings.passes, teacher=taught))
    count = len(found)
    parts = {name: sum(one.parts[name] for one in found) / count for name in found[0].parts}
    means = (sum(getattr(one, name) for one in found) / count for name in ("forward", "model", "training"))
    return Flops(parts, *means)
