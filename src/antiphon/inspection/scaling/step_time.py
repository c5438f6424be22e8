"""The seconds of an optimizer step: computing, memory traffic, starting kernels, communication and the update.

    seconds = step_seconds(load, Sharding.FSDP, cluster)
    seconds.total, seconds.exposed

A micro-batch takes the time of its products, at the part of the device's peak rate that large products reach, and that
of its other operations, at the rate of its memory times MEMORY_SHARE, but at least the time in which its kernels are
started. Communication runs beside: DDP's all-reduce beside the last backward pass, FSDP2's gathers and reductions
beside the computing of each layer; what takes longer than that is exposed. The shares are assumptions, which
docs/scaling.md compares with published runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.inspection.scaling.activations import WIDE
from antiphon.inspection.scaling.communication import Sharding, Traffic
from antiphon.inspection.scaling.devices import Cluster

SINGLE_SHARE = 0.88  # of the peak rate, which large products of float32 reach: 14 of 15.7 TFLOP/s (V100, Mu Li 2022)
MEMORY_SHARE = 0.8  # of the peak rate of the memory, which large elementwise operations reach
LINK_SHARE = 0.8  # of the peak rate of links, which large collectives reach
# How often a byte that is stored for the gradient is read or written: it is written, read by the next operation and by
# the gradient, whose own result is written and read; operations that store nothing (sums, scalings, copies of heads)
# add as many again.
TRAFFIC_PASSES = 8
KERNEL_SECONDS = 1e-5  # the host's time to start a kernel from Python
# Operations that a forward and backward pass of the preset base in bfloat16 dispatches, views left out: of a layer of
# the encoder, of one of the decoder, and of everything else (counted by tests/inspection/test_scaling.py).
ENCODER_KERNELS, DECODER_KERNELS, OTHER_KERNELS = 63, 118, 135
CHUNK_KERNELS = 28  # of each chunk of the loss after the first (nn/loss.py)
COLLECTIVE_SECONDS = 3e-5  # the time that a collective takes without any bytes, times the nodes' logarithm
HOST_LINK, HOST_MEMORY = 25e9, 20e9  # bytes a second to the host's memory, and of its memory for one of its ranks


@dataclass(frozen=True)
class StepLoad:
    """The work of one rank in a step of `micro_batches`: operations and stored bytes of a mean micro-batch, its
    kernels, bytes that the update reads and writes, and whether products are in 16 bits."""

    flops: float
    forward_share: float
    touched: float
    kernels: float
    micro_batches: int
    update_bytes: float
    half: bool
    offloaded: float = 0.0


@dataclass(frozen=True)
class StepSeconds:
    """Seconds of a step. `products`, `memory` and `launches` are those of all micro-batches, `compute` is what they
    take together, `communication` all of it and `exposed` what is not hidden behind computing."""

    products: float
    memory: float
    launches: float
    compute: float
    communication: float
    exposed: float
    update: float

    @property
    def total(self) -> float:
        """The whole step."""
        return self.compute + self.exposed + self.update

    @property
    def bound(self) -> str:
        """What takes most of the step."""
        if self.exposed > self.compute:
            return "communication"
        if self.launches >= self.products + self.memory:
            return "starting kernels"
        return "matrix products" if self.products >= self.memory else "the memory's bandwidth"


def step_seconds(
    load: StepLoad,
    traffic: Traffic,
    sharding: Sharding,
    cluster: Cluster,
    *,
    slowest: float = 1.0,
) -> StepSeconds:
    """The seconds of a step. `slowest`: how many times as long as a mean rank the slowest one computes, for which the
    others wait."""
    device, count = cluster.device, load.micro_batches
    rate = device.reached * device.matrix if load.half else SINGLE_SHARE * device.single
    products = load.flops / rate
    memory = TRAFFIC_PASSES * load.touched / (device.bandwidth * MEMORY_SHARE)
    launches = load.kernels * KERNEL_SECONDS
    one = max(slowest * (products + memory), launches)
    update = load.update_bytes / (device.bandwidth * MEMORY_SHARE)
    if load.offloaded:
        # Parameters come from the host for each pass, gradients go there, and the host computes the update.
        update = load.update_bytes / HOST_MEMORY + load.offloaded * (2 * count + 1) / HOST_LINK
    sent, last = communication_seconds(traffic, sharding, cluster)
    if sharding is Sharding.DDP:
        exposed = max(last, sent - one * (1 - load.forward_share) * 0.9)
    else:
        exposed = max(last, sent - one * count)
    if sharding is Sharding.ONE:
        sent = exposed = 0.0
    return StepSeconds(products * count, memory * count, launches * count, one * count, sent, exposed, update)


def communication_seconds(traffic: Traffic, sharding: Sharding, cluster: Cluster) -> tuple[float, float]:
    """The seconds of all collectives of a step, and those of the last one, which nothing can hide."""
    device = cluster.device
    ring = device.link if sharding is Sharding.HYBRID else cluster.ring
    fixed = COLLECTIVE_SECONDS * (1 + max(0, (cluster.nodes - 1).bit_length()))
    seconds = (traffic.gathered + traffic.reduced) / (ring * LINK_SHARE) + traffic.collectives * fixed
    seconds += traffic.between / (device.network * LINK_SHARE)
    return seconds, seconds / max(1, traffic.collectives)


def update_bytes(parameters: float, state: float, *, ema: bool) -> float:
    """Bytes that clipping and updating `parameters` trained ones with `state` bytes read and write."""
    clipping = 2 * WIDE * parameters  # read for the norm, and scaled
    return clipping + WIDE * parameters * (3 + 3 * ema) + 2 * state
