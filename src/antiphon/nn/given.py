"""Modules that a user brings, inside a network of ours: their linear layers keep the weights that they came with, in
floating-point numbers.

The mark is an attribute of each linear layer, so that it survives a deep copy and `network.apply(initialize)`.
"""

from __future__ import annotations

from torch import nn

_MARK = "given_by_user"


def mark_given(module: nn.Module) -> None:
    """`initialize` and int8 leave the linear layers within `module` as they are from now on."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            setattr(part, _MARK, True)


def is_given(module: nn.Module) -> bool:
    """Whether `module` is a layer that `mark_given` has seen."""
    return bool(vars(module).get(_MARK, False))
