"""Sharded tensors: the part of this rank, and the whole."""

from __future__ import annotations

from torch import Tensor

from antiphon.training.saving.stored import is_sharded


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this rank holds; a view. A tensor that is not sharded is that itself."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor; a collective if it is sharded."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
