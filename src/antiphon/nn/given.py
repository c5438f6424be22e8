"""Marks the linear layers of modules that a user passes to a network: they are neither initialized nor quantized.

The mark is an attribute of the layer, so that it is kept by a deep copy and by `network.apply(initialize)`.
"""

from __future__ import annotations

from torch import nn

_ATTRIBUTE = "_given_by_user"


def mark_given(module: nn.Module) -> None:
    """Exclude the linear layers within `module` from `initialize` and from int8 quantization."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            setattr(part, _ATTRIBUTE, True)


def is_given(module: nn.Module) -> bool:
    """Whether `module` is a linear layer marked by `mark_given`."""
    return bool(vars(module).get(_ATTRIBUTE, False))
