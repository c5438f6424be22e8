"""Sharded tensors: the part of this rank, and the whole."""

from __future__ import annotations

import sys

from torch import Tensor


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this rank holds; a view. A tensor that is not sharded is that itself."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor; a collective if it is sharded."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def is_sharded(tensor: Tensor) -> bool:
    """Whether each rank holds a part of this tensor, as FSDP2 does."""
    library = sys.modules.get("torch.distributed.tensor")  # not imported: nothing is sharded
    return library is not None and isinstance(tensor, library.DTensor)
