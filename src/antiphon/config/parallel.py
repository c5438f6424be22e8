"""Settings of training on several processes; part of the section `training`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from antiphon.settings import Settings


@dataclass(frozen=True)
class ParallelSettings(Settings):
    parallel: Literal["auto", "ddp", "fsdp"] = field(default="auto", kw_only=True)
    """On several processes: ddp, all weights on each; fsdp, weights sharded over them (FSDP2); auto: ddp if an estimate
    of the memory says that it fits."""
    shard_within: Literal["world", "node"] = field(default="world", kw_only=True)
    """With fsdp: shard over all processes (world), or over those of a machine, and repeat on each machine (node)."""
    cpu_offload: bool = field(default=False, kw_only=True)
    """With fsdp: hold sharded weights, gradients and moments in the memory of the CPU, and update them there."""
