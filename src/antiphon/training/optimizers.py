"""The built-in optimizers. Each is a function of parameter groups and settings.

`lr`, `betas` and `weight_decay` come from `training`, if the function has such parameters. Its other parameters are set
by `training.optimizer: {muon: {momentum: 0.9}}`. A group is a dict of `params`, `lr_scale` (the loop sets `lr` to the
scheduled rate times this), `weight_decay` and `linear` (whether these are weights of linear layers).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.registry import register

Groups = list[dict[str, Any]]
Betas = tuple[float, float]


@register("optimizer", "adamw")
def adamw(groups: Groups, *, lr: float, betas: Betas, weight_decay: float, eps: float = 1e-9) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), ε = 1e-9 as Vaswani et al. 2017; fused where the device supports it."""
    return torch.optim.AdamW(groups, lr=lr, betas=betas, weight_decay=weight_decay, eps=eps, fused=True)


@register("optimizer", "adafactor")
def adafactor(
    groups: Groups, *, lr: float, weight_decay: float, beta2_decay: float = -0.8, eps: float = 1e-3, d: float = 1.0
) -> torch.optim.Optimizer:
    """Adafactor (Shazeer and Stern 2018, algorithms 4 and 5). The rate is relative to the size of the weights (at least
    `eps`) and at most 1/sqrt(step); the root mean square of an update is at most `d`."""
    return torch.optim.Adafactor(
        groups, lr=lr, weight_decay=weight_decay, beta2_decay=beta2_decay, eps=(None, eps), d=d
    )


@register("optimizer", "sgd")
def sgd(
    groups: Groups, *, lr: float, weight_decay: float, momentum: float = 0.9, nesterov: bool = True
) -> torch.optim.Optimizer:
    """SGD with momentum (Sutskever et al. 2013); weight decay is added to the gradient (L2)."""
    from torch.distributed.tensor import DTensor

    sharded = any(isinstance(weight, DTensor) for group in groups for weight in group["params"])
    fused = None if sharded else True  # PyTorch has no fused SGD of sharded weights
    return torch.optim.SGD(groups, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, fused=fused)


@register("optimizer", "schedule_free")
def schedule_free(
    groups: Groups,
    *,
    lr: float,
    betas: Betas,
    weight_decay: float,
    eps: float = 1e-8,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
) -> torch.optim.Optimizer:
    """Schedule-free AdamW (Defazio et al. 2024, The Road Less Scheduled): averaged weights, which are validated and
    saved, replace the decay of the rate. Use it with `schedule: constant`."""
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError as error:
        raise ConfigError(
            "`schedule_free` needs the package schedulefree, which is not installed. "
            "Install it with `pip install 'antiphon[optim]'`."
        ) from error
    return AdamWScheduleFree(
        groups, lr=lr, betas=betas, weight_decay=weight_decay, eps=eps, r=r, weight_lr_power=weight_lr_power
    )


class UpdateOptimizer(torch.optim.Optimizer):
    """Base class of the optimizers defined here. Subclasses implement `update`, which applies the gradients."""

    def update(self) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.update()
        return loss


class Lion(UpdateOptimizer):
    """The sign of an interpolated momentum (Chen et al. 2023, Symbolic Discovery of Optimization Algorithms,
    algorithm 2). Use a rate 3 to 10 times smaller, and a larger decay, than with AdamW (section 5)."""

    def __init__(self, params: Iterable[Any], *, lr: float, betas: Betas, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def update(self) -> None:
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            active = [p for p in group["params"] if p.grad is not None]
            if not active:
                continue
            gradients = [p.grad for p in active]
            for p in active:
                if not self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
            momenta: list[Tensor] = [self.state[p]["exp_avg"] for p in active]
            signs = torch._foreach_lerp(momenta, gradients, 1 - beta1)
            torch._foreach_sign_(signs)
            torch._foreach_mul_(active, 1 - lr * group["weight_decay"])
            torch._foreach_add_(active, signs, alpha=-lr)
            torch._foreach_lerp_(momenta, gradients, 1 - beta2)


@register("optimizer", "lion")
def lion(groups: Groups, *, lr: float, betas: Betas, weight_decay: float) -> torch.optim.Optimizer:
    """Lion (Chen et al. 2023)."""
    return Lion(groups, lr=lr, betas=betas, weight_decay=weight_decay)


class Muon(UpdateOptimizer):
    """Muon (Jordan et al. 2024): momentum whose matrices are orthogonalized, for 2-D weights.

    As torch.optim.Muon, but matrices of the same shape are batched, and on a CPU it computes in float32: bfloat16
    products are about twenty times slower there.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, but is {momentum}")
        settings = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, **settings})

    def update(self) -> None:
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for shape, weights in alike.items():
                directions = orthogonal(
                    torch.stack([self._momentum(p, group) for p in weights]), steps=group["ns_steps"]
                )
                # 0.2·sqrt(max(rows, columns)) gives the update the root mean square of AdamW's.
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(weights, list(directions.to(weights[0].dtype).unbind()), alpha=-rate)

    def _momentum(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum_buffer"]
        assert p.grad is not None
        buffer.lerp_(p.grad, 1 - group["momentum"])
        return p.grad.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer


def orthogonal(matrices: Tensor, *, steps: int) -> Tensor:
    """Matrices (n, rows, columns) with the same singular vectors and singular values near 1 (0.7 to 1.2), by a
    Newton-Schulz iteration of degree 5 with Jordan's coefficients."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x


class OptimizerGroup(UpdateOptimizer):
    """Several optimizers with different groups behind the interface of a single one (groups, state, `step`)."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        # The group dicts are shared, not copied, so that setting a rate here sets it in the inner optimizer.
        super().__init__([group for part in optimizers for group in part.param_groups], {})
        for number, part in enumerate(optimizers):
            for group in part.param_groups:
                group["part"] = number
        self._link()

    def _link(self) -> None:
        for number, part in enumerate(self.optimizers):
            part.param_groups = [group for group in self.param_groups if group["part"] == number]
            part.state = self.state

    def update(self) -> None:
        for part in self.optimizers:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)  # replaces the group dicts
        self._link()


@register("optimizer", "muon")
def muon(
    groups: Groups,
    *,
    lr: float,
    betas: Betas,
    weight_decay: float,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    adamw_lr: float | None = None,
) -> torch.optim.Optimizer:
    """`Muon` for the weights of linear layers; AdamW with rate `adamw_lr` (None: the same) for embeddings, output
    projection, norms, biases and parameters of attention.

    Updates are scaled as in Liu et al. 2025, Muon is Scalable for LLM Training, section 2.2: they are as large as
    AdamW's, so that the same rate and decay suit both.
    """
    hidden = [group for group in groups if group["linear"]]
    factor = (adamw_lr or lr) / lr
    rest = [{**group, "lr_scale": group["lr_scale"] * factor} for group in groups if not group["linear"]]
    parts: list[torch.optim.Optimizer] = []
    if hidden:
        own: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
        parts.append(Muon(hidden, lr=lr, weight_decay=weight_decay, **own))
    if rest:
        parts.append(adamw(rest, lr=lr, betas=betas, weight_decay=weight_decay))
    return OptimizerGroup(parts)
