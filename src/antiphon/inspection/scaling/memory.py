"""The memory of a GPU in training: weights, gradients, state of the optimizer, copies and activations, by sharding.

    needed = gpu_memory(shape, largest_batch, MemorySettings(optimizer="adamw"), Sharding.FSDP, cluster)
    needed.total, needed.parts["activations"], needed.host

Weights are float32 masters, gradients are reduced in float32. Sharded parameters are gathered a layer at a time, in the
type of the products, with the next layer's under way; those outside of the layers stay gathered. Under FSDP2 each rank
has a whole float32 network beside, in the host's memory, which comes to the GPU to validate and to be saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.inspection.scaling.activations import WIDE, ActivationSettings, activation_bytes
from antiphon.inspection.scaling.communication import Sharding
from antiphon.inspection.scaling.devices import Cluster
from antiphon.inspection.scaling.flops import BatchShape
from antiphon.inspection.scaling.shape import NetworkShape

# What CUDA, NCCL and cuBLAS take before the first tensor, and the share of the memory that fragments leave unused:
# usual values, no measurement of ours.
CONTEXT_BYTES, UNUSABLE = 1.5e9, 0.05
OPTIMIZERS = ("adamw", "adafactor", "sgd", "schedule_free", "lion", "muon")


@dataclass(frozen=True)
class MemorySettings:
    """What of a recipe decides its memory. `teacher`: parameters of the teacher of distillation."""

    optimizer: str = "adamw"
    optimizer_settings: Mapping[str, Any] = field(default_factory=dict)
    half: bool = False
    checkpoint: bool = False
    ema: bool = False
    mixout: bool = False
    passes: int = 1
    teacher: int = 0
    offload: bool = False


@dataclass(frozen=True)
class GpuMemory:
    """Bytes of a GPU in training, by what holds them; `validation`: all that it holds in a validation, without the
    search; `host`: bytes of the host's memory for each GPU."""

    parts: dict[str, float]
    validation: float
    host: float

    @property
    def total(self) -> float:
        """The peak, with what fragments leave unused."""
        return max(sum(self.parts.values()), self.validation) / (1 - UNUSABLE)


def optimizer_bytes(shape: NetworkShape, optimizer: str, settings: Mapping[str, Any]) -> float:
    """Bytes of the state of an optimizer for all parameters that learn; that of an unknown one counts as AdamW's."""
    learns = shape.trainable / max(1, shape.parameters)
    if optimizer == "sgd":
        return WIDE * shape.trainable * (settings.get("momentum", 0.9) > 0)
    if optimizer == "lion":
        return WIDE * shape.trainable
    if optimizer == "muon":  # one moment for linear weights, two for others
        return learns * WIDE * (2 * shape.parameters - shape.linear)
    if optimizer == "adafactor":  # rows and columns of matrices
        return learns * WIDE * (shape.factored + shape.vectors)
    return 2 * WIDE * shape.trainable


def least_bytes(shape: NetworkShape, optimizer: str, settings: Mapping[str, Any], *, copies: int = 0) -> float:
    """Bytes of weights, gradients, the state of the optimizer and `copies` of the weights, in one process."""
    weights = WIDE * (shape.parameters * (1 + copies) + shape.trainable)
    return weights + optimizer_bytes(shape, optimizer, settings)


def gpu_memory(
    shape: NetworkShape, batch: BatchShape, settings: MemorySettings, sharding: Sharding, cluster: Cluster
) -> GpuMemory:
    """The peak of a GPU whose largest micro-batch is `batch`."""
    sharded = sharding in (Sharding.FSDP, Sharding.HYBRID)
    shards, narrow = sharding.shards(cluster), 2 if settings.half else WIDE
    weights, gradients = WIDE * shape.parameters / shards, WIDE * shape.trainable / shards
    state = optimizer_bytes(shape, settings.optimizer, settings.optimizer_settings) / shards
    copies = WIDE * shape.parameters / shards * (settings.ema + settings.mixout)
    stored = activation_bytes(
        shape,
        batch,
        ActivationSettings(
            half=settings.half,
            fused=True,
            checkpoint=settings.checkpoint,
            copies=not (sharded and settings.half),
            passes=settings.passes,
        ),
    )
    gathered = 0.0
    if sharded:
        # Parameters of the root and of two layers; the gradient of a layer in both types before it is reduced.
        gathered = narrow * (shape.root + 2 * shape.largest_layer) + (narrow + WIDE) * (
            shape.root + shape.largest_layer
        )
    # Validation has no gradients and activations, but whole weights: the plain network of FSDP2, or those of training
    # beside the moving average.
    validation = weights + state + copies + WIDE * shape.parameters * (sharded or settings.ema) + CONTEXT_BYTES
    host = float(WIDE * shape.parameters) if sharded else 0.0
    if settings.offload:
        host += weights + gradients + state + copies
        validation -= weights + state + copies
        weights = gradients = state = copies = 0.0
    parts = {
        "weights": weights,
        "gradients": gradients,
        "optimizer": state,
        "copies of the weights": copies,
        "teacher": float(WIDE * settings.teacher),
        "gathered layers": gathered,
        "activations": stored.layers + stored.weights + stored.largest_layer,
        "loss": stored.loss,
        "context": CONTEXT_BYTES,
    }
    return GpuMemory(parts, validation + WIDE * settings.teacher, host)
