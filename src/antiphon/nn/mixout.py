"""Mixout: in training, elements of a linear weight are those of reference weights with probability p.

With M the elements that are mixed, u the reference and w the weight, the layer computes with
(M·u + (1 - M)·w - p·u) / (1 - p) (Lee et al. 2020, Mixout), whose mean is w. That is u + dropout(w - u),
and so it is computed: with our dropout's bits, which are a function of the step and the place, so that a recomputed
layer draws the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.nn.noise import Dropout, Noise


class MixoutLinear(nn.Linear):
    """A linear layer with the parameters of `linear`, mixed with what they are now. Its bias is not mixed."""

    reference: Tensor

    def __init__(self, linear: nn.Linear, p: float, noise: Noise) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.drop = Dropout(p, noise)
        # Not persistent: a model folder has no use for it; the training loop keeps it.
        self.register_buffer("reference", linear.weight.detach().clone(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight
        if self.training:
            weight = self.reference + self.drop(weight - self.reference)
        return functional.linear(input, weight, self.bias)


def add_mixout(network: nn.Module, p: float, noise: Noise) -> None:
    """Mix every linear layer of `network` with the weights that it has now. Call `number_sites` behind it."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and not isinstance(child, MixoutLinear):
                setattr(module, name, MixoutLinear(child, p, noise))


def references(network: nn.Module) -> dict[str, Tensor]:
    """The reference weights, by the name of the weight that they belong to."""
    return {
        f"{name}.weight": module.reference
        for name, module in network.named_modules()
        if isinstance(module, MixoutLinear)
    }


@torch.no_grad()
def put_references(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """The inverse of `references`."""
    for name, reference in references(network).items():
        reference.copy_(weights[name])
