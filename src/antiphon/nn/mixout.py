"""Mixout: in training, each element of a linear weight is replaced by its reference value with probability p.

With M the elements that are mixed, u the reference and w the weight, the layer computes with
(M·u + (1 - M)·w - p·u) / (1 - p) (Lee et al. 2020, Mixout), whose mean is w. That is u + dropout(w - u),
which is how it is computed, with the counter-based bits of `Dropout`, so that a recomputed layer draws the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.nn.noise import Dropout, Noise


class MixoutLinear(nn.Linear):
    """A linear layer with the parameters of `linear`; its present weight is the reference. The bias is not mixed."""

    reference: Tensor

    def __init__(self, linear: nn.Linear, p: float, noise: Noise) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.drop = Dropout(p, noise)
        self.drop.has_rows = False  # it mixes weights
        # Not persistent: it is not part of a model folder. The training loop saves it in snapshots.
        self.register_buffer("reference", linear.weight.detach().clone(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight
        if self.training:
            weight = self.reference + self.drop(weight - self.reference)
        return functional.linear(input, weight, self.bias)


def add_mixout(network: nn.Module, p: float, noise: Noise) -> None:
    """Add mixout to the linear layers of `network`, with their present weights as reference. Then call
    `number_sites`."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and not isinstance(child, MixoutLinear):
                setattr(module, name, MixoutLinear(child, p, noise))


def references(network: nn.Module) -> dict[str, Tensor]:
    """The reference weights, by the names of the weights."""
    return {
        f"{name}.weight": module.reference
        for name, module in network.named_modules()
        if isinstance(module, MixoutLinear)
    }


@torch.no_grad()
def put_references(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load the result of `references`."""
    for name, reference in references(network).items():
        reference.copy_(weights[name])
