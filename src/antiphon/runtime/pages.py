"""Large tensors of zeros whose memory is allocated on the first write, and the return of freed memory to the system.

leaf = zeros((256, 8, 200, 64), like=k)      # pages that are never written to take no memory
trim()                                       # returns memory that was freed to the system
"""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

MIN_MAPPED_BYTES = 2**20  # size from which a tensor is mapped


def zeros(shape: Sequence[int], *, like: Tensor) -> Tensor:
    """Zeros of this shape, in the type and on the device of `like`.

    A cache has space for the longest answer, which most answers do not reach. On a CPU, a large tensor therefore
    consists of mapped pages: they take no memory before the first write, and are returned to the system with the
    tensor.
    """
    size = math.prod(shape) * like.element_size()
    if size >= MIN_MAPPED_BYTES and like.device.type == "cpu" and sys.platform != "win32":
        try:
            piece = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            pass  # not enough memory: PyTorch raises its own error
        else:
            return torch.frombuffer(piece, dtype=like.dtype).view(*shape)
    return torch.zeros(tuple(shape), dtype=like.dtype, device=like.device)


def trim() -> None:
    """Return freed memory to the system, if the C library supports it. Takes milliseconds."""
    if (ask := _trimmer()) is not None:
        ask(0)


@cache
def _trimmer() -> ctypes._NamedFuncPointer | None:  # type: ignore[name-defined]
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
