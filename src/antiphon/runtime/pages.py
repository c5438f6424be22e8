"""Large pieces of memory from the system itself: zeros that take none until they are written to, and its return.

leaf = zeros((256, 8, 200, 64), like=k)      # what an answer never reaches is never there
trim()                                       # what was freed, and the allocator kept, goes back
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

MIN_MAPPED_BYTES = 2**20  # bytes from which a piece is asked of the system


def zeros(shape: Sequence[int], *, like: Tensor) -> Tensor:
    """Zeros of this shape, in the type and on the device of `like`.

    A cache has room for the longest answer, which most do not reach: on a CPU a large one consists of pages that are
    not there before they are written to, and that are given back to the system when the tensor goes.
    """
    size = math.prod(shape) * like.element_size()
    if size >= MIN_MAPPED_BYTES and like.device.type == "cpu" and sys.platform != "win32":
        try:
            piece = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            pass  # as much is not there: PyTorch says it in its own words
        else:
            return torch.frombuffer(piece, dtype=like.dtype).view(*shape)
    return torch.zeros(tuple(shape), dtype=like.dtype, device=like.device)


def trim() -> None:
    """Give back to the system what was freed, where the C library can be asked for that; it takes milliseconds."""
    if (ask := _trimmer()) is not None:
        ask(0)


@cache
def _trimmer() -> ctypes._NamedFuncPointer | None:  # type: ignore[name-defined]
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
