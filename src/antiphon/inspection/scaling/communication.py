"""What a rank sends in one optimizer step, by sharding.

    sent = step_traffic(shape, sharding, cluster, micro_batches=4, half=True)
    sent.bytes, sent.collectives

An all-reduce of B bytes over n ranks in a ring sends 2·(n − 1)/n·B from each, a gather or a reduce-scatter half of it
(Rabenseifner 2004, Optimization of Collective Reduction Operations; Patarasuk and Yuan 2009, Bandwidth Optimal
All-reduce Algorithms). DDP reduces the float32 gradients once a step. FSDP2 gathers the parameters of each layer in the
forward and again in the backward pass of every micro-batch, and those outside of the layers once, and reduces the
float32 gradients of every micro-batch (Zhao et al. 2023, PyTorch FSDP, section 3.2). Hybrid sharding does so within a
node, and reduces the shards between nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from antiphon.inspection.scaling.activations import WIDE
from antiphon.inspection.scaling.devices import Cluster
from antiphon.inspection.scaling.shape import NetworkShape

BUCKET = 25 * 2**20  # bytes of a bucket of DDP


class Sharding(StrEnum):
    """How parameters, gradients and the state of the optimizer are distributed."""

    ONE = "one GPU"
    DDP = "DDP"
    HYBRID = "FSDP2 within nodes"
    FSDP = "FSDP2"

    def shards(self, cluster: Cluster) -> int:
        """The number of parts of each parameter."""
        return {Sharding.FSDP: cluster.devices, Sharding.HYBRID: cluster.per_node}.get(self, 1)


@dataclass(frozen=True)
class Traffic:
    """Bytes that a rank sends in a step, and the number of collectives: `gathered` parameters, `reduced` gradients (in
    a ring over all ranks, or a node's), and `between` the nodes (hybrid)."""

    gathered: float
    reduced: float
    between: float
    collectives: int

    @property
    def bytes(self) -> float:
        """All of them."""
        return self.gathered + self.reduced + self.between


def step_traffic(
    shape: NetworkShape,
    sharding: Sharding,
    cluster: Cluster,
    *,
    micro_batches: int,
    half: bool,
) -> Traffic:
    """The traffic of a rank that computes `micro_batches` of a step. `half`: parameters are gathered in bfloat16.
    Checkpointing changes nothing: layers are gathered in the backward pass in any case."""
    if sharding is Sharding.ONE:
        return Traffic(0.0, 0.0, 0.0, 0)
    if sharding is Sharding.DDP:
        gradients = WIDE * shape.trainable
        return Traffic(0.0, 2 * share(cluster.devices) * gradients, 0.0, -(-gradients // BUCKET) + 1)
    ranks, narrow = sharding.shards(cluster), 2 if half else WIDE
    layers = shape.parameters - shape.root
    gathered = share(ranks) * narrow * (2 * layers + shape.root) * micro_batches
    reduced = share(ranks) * WIDE * shape.trainable * micro_batches
    groups = len(shape.layers) + 1
    between, others = 0.0, 0
    if sharding is Sharding.HYBRID:
        between = 2 * share(cluster.nodes) * WIDE * shape.trainable / ranks * micro_batches
        others = groups * micro_batches
    return Traffic(gathered, reduced, between, (3 * groups - 1) * micro_batches + others + 1)


def share(ranks: int) -> float:
    """The part of the bytes that a rank sends in a gather over `ranks`."""
    return (ranks - 1) / ranks
