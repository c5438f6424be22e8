"""Fully sharded data parallelism (FSDP2): each rank holds a part of every weight, of its gradient and of its moments.

Zhao et al. 2023, PyTorch FSDP; Rajbhandari et al. 2020, ZeRO, stage 3. The weights of a layer are gathered before it
computes and freed afterwards, those outside of the layers (embeddings, final norms, rules that layers share) for the
whole pass. Gradients are scattered after each micro-batch, so that no rank holds a whole gradient.

With `shard_within: node` the weights are sharded within a machine and repeated over the machines (hybrid sharding).
With bfloat16, layers compute with bfloat16 weights; the sharded weights and the reduction are float32.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard

from antiphon.config import TrainingConfig
from antiphon.distributed.world import World
from antiphon.errors import ConfigError
from antiphon.models.folders.checkpoint import named_weights
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.parallel.shards import local, whole
from antiphon.training.parallel.single import SingleProcess, prepare
from antiphon.training.parallel.skipped import layers_of, leave_unused, use_skipped


class FullySharded(SingleProcess):
    """Trains a sharded copy of `network`. `evaluation()` copies its weights into `network`, which is on the CPU in the
    meantime if the ranks compute on GPUs."""

    kind = "fsdp"

    def __init__(self, network: EncoderDecoder, settings: TrainingConfig, world: World) -> None:
        self.settings, self.world, self.device = settings, world, network.device
        self.plain = network.cpu() if self.device.type == "cuda" else network
        self.network = copy.deepcopy(self.plain)
        prepare(self.network, settings)
        self.mesh = mesh_of(settings, world, self.device)
        shard(self.network, self.mesh, settings)
        self.forward = self.network

    def share(self, count: int) -> list[int | None]:
        rounds = -(-count // self.world.size)
        own = [place * self.world.size + self.world.rank for place in range(rounds)]
        return [number if number < count else None for number in own]

    def beside(self, place: int, count: int) -> Sequence[int]:
        return range(place * self.world.size, min(count, (place + 1) * self.world.size))

    @property
    def repeatable(self) -> bool:
        return False  # each pass gathers weights from all ranks

    def synchronizing(self, *, last: bool) -> AbstractContextManager[Any]:
        return nullcontext()

    def square(self) -> Tensor:
        found = [local(p.grad) for p in self.network.parameters() if p.grad is not None]
        total = torch.stack(torch._foreach_norm(found)).double().square().sum().to(self.device)
        return total / (self.mesh.size(0) if self.mesh.ndim == 2 else 1)  # repeated on the first dimension

    def clip(self, bound: float, square: Tensor) -> Tensor:
        norm = square.sqrt()
        gradients = [local(p.grad) for p in self.network.parameters() if p.grad is not None]
        factor = (bound / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_
        torch._foreach_mul_(gradients, factor.to(gradients[0]))
        return norm

    def drop_unused(self, *, step: int, count: int) -> None:
        leave_unused(self.network, seed=self.settings.seed, step=step, count=count)

    @contextmanager
    def evaluation(self) -> Iterator[EncoderDecoder]:
        self.plain.to(self.device)
        with torch.no_grad():
            own = named_weights(self.plain)
            for name, weight in named_weights(self.network).items():
                own[name].copy_(whole(weight))
        yield self.plain
        if self.device.type == "cuda":
            self.plain.cpu()


def shard(network: EncoderDecoder, mesh: DeviceMesh, settings: TrainingConfig) -> None:
    """Shard each layer of `network`, and then the rest of it, in place."""
    low = settings.precision == "bfloat16"
    # Inputs are cast by autocast, as in one process: a layer's norms and residuals are float32.
    precision = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if low else None,
        reduce_dtype=torch.float32 if low else None,
        cast_forward_inputs=False,
    )
    pin = mesh.device_type == "cuda"
    offload = CPUOffloadPolicy(pin_memory=pin) if settings.cpu_offload else OffloadPolicy()
    use_skipped(network)
    for layer in layers_of(network):
        if settings.compile:
            layer.compile(dynamic=True)
        fully_shard(layer, mesh=mesh, mp_policy=precision, offload_policy=offload)
    fully_shard(network, mesh=mesh, mp_policy=precision, offload_policy=offload)
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def mesh_of(settings: TrainingConfig, world: World, device: torch.device) -> DeviceMesh:
    """The ranks as a line, or for hybrid sharding as (machines, ranks of a machine)."""
    if settings.shard_within == "world":
        return init_device_mesh(device.type, (world.size,), mesh_dim_names=("shard",))
    if world.size % world.local_size:
        raise ConfigError(
            f"`training.shard_within: node` needs as many ranks on each machine, but {world.size} ranks are not a "
            f"multiple of {world.local_size}, those of this one. Start as many everywhere, or take `world`."
        )
    shape = (world.size // world.local_size, world.local_size)
    return init_device_mesh(device.type, shape, mesh_dim_names=("repeat", "shard"))
