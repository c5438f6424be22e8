"""What an optimizer needs and can: the bytes of its state, and whether it updates sharded weights as whole ones.

FSDP2 gives each rank some rows of every weight. An optimizer that computes each element by itself (AdamW) does the same
with rows as with whole weights; one that looks at whole matrices may (Muon, whose products PyTorch computes over the
ranks) or may not (Adafactor). That is tried here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from antiphon.config import TrainingConfig
from antiphon.distributed.world import World
from antiphon.errors import ConfigError
from antiphon.training.evaluated import SwitchingOptimizer
from antiphon.training.optim import optimizer_of

STEPS = 3
TOLERANCE = 1e-9  # in float64; rounding alone differs by some 1e-16


def state_bytes(settings: TrainingConfig, *, folder: Path | None = None) -> float:
    """The bytes of the optimizer's state for one trained number, measured on a small weight."""
    weight = nn.Parameter(torch.ones(64, 64))
    state = _updated([weight], [[torch.ones(64, 64)]], settings, folder).state[weight]
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / weight.numel()


def check_shardable(
    settings: TrainingConfig, world: World, device: torch.device, *, folder: Path | None = None
) -> None:
    """ConfigError unless the optimizer updates sharded weights as whole ones. All ranks call this."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh(device.type, (world.size,))
    generator = torch.Generator().manual_seed(0)
    shapes = [(2 * world.size + 1, 6), (6, 2 * world.size + 1), (2 * world.size + 1,)]
    values, *gradients = [
        [torch.randn(shape, generator=generator, dtype=torch.float64).to(device) for shape in shapes]
        for _ in range(1 + STEPS)
    ]
    whole = [nn.Parameter(value.clone()) for value in values]
    problem = ""
    _updated(whole, gradients, settings, folder)
    try:
        sharded = [nn.Parameter(distribute_tensor(value.clone(), mesh, [Shard(0)])) for value in values]
        dealt = [[distribute_tensor(each, mesh, [Shard(0)]) for each in step] for step in gradients]
        _updated(sharded, dealt, settings, folder)
        found = [each.detach().full_tensor() for each in sharded]  # type: ignore[attr-defined]
        gap = max(float((one.detach() - other).abs().max()) for one, other in zip(whole, found, strict=True))
        if not gap <= TOLERANCE:
            problem = f"it updates sharded weights differently, by up to {gap:.1g}"
    except Exception as error:  # an optimizer of one's own may raise anything
        problem = f"it cannot update sharded weights ({type(error).__name__})"
    if problem:
        raise ConfigError(
            f"`training.optimizer` must update sharded weights as whole ones where `training.parallel` is fsdp, "
            f"but {settings.optimizer_name} does not: {problem}. Take adamw, lion, muon, sgd or schedule_free, or "
            "`training.parallel: ddp`."
        )


def _updated(
    weights: list[nn.Parameter], gradients: Sequence[Sequence[Tensor]], settings: TrainingConfig, folder: Path | None
) -> torch.optim.Optimizer:
    """The optimizer after one step with each of `gradients`."""
    groups = [
        {"params": alike, "lr_scale": 1.0, "weight_decay": settings.weight_decay, "linear": linear}
        for linear in (True, False)
        if (alike := [weight for weight in weights if (weight.ndim == 2) == linear])
    ]
    optimizer = optimizer_of(groups, settings, folder=folder)
    if isinstance(optimizer, SwitchingOptimizer):
        optimizer.train()
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    return optimizer
