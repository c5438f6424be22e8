"""The lowerings of operations of `antiphon.nn` to kernels, set when the runtime is imported.

    install()            # once, on import of `antiphon.runtime`

While a step is recorded, nothing may depend on the value of a tensor: for operations whose PyTorch body reads a counter
or a mask, the lowering returns a result that is valid for any value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.nn import cache, layers, positions, scores, state  # noqa: F401  their operations are in OPERATIONS
from antiphon.nn.backends import add_backend
from antiphon.nn.operations import OPERATIONS
from antiphon.runtime.attend_kernel import KERNEL, MAX_QUERIES
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.pages import zeros
from antiphon.runtime.quantized import project, project_activated


def exchange_rows(part: Tensor, index: Tensor, *, width: int) -> Any:
    if part.dim() != 4:
        return NotImplemented
    if part.dtype == torch.float16 and part.shape[-1] % 2 == 0:
        part = part.view(torch.float32)  # two 16-bit numbers are moved as one float32
    if not kernels.usable(part) or part.shape[2] == 0 or not part[0, 0].is_contiguous():
        return NotImplemented
    return kernels.reorder(part, index, width=width)


def assign_slots(key_pos: Tensor, count: Tensor, new_pos: Tensor) -> Any:
    if not _recording_on_cpu(key_pos):
        return NotImplemented
    capacity = key_pos.shape[1] - 1
    return kernels.place(key_pos, count, new_pos), key_pos[:, :capacity], capacity


def slots_in_use(count: Tensor, capacity: int) -> Any:
    return capacity if kernels.capturing() else NotImplemented


def write_slots(leaf: Tensor, slots: Tensor, new: Tensor) -> Any:
    if not (kernels.capturing() and kernels.usable(new) and kernels.cacheable(leaf)):
        return NotImplemented
    return kernels.put(leaf, slots, new)


def to_cache_type(x: Tensor, dtype: torch.dtype) -> Any:
    if dtype != torch.float16 or x.dtype == dtype or x.dim() != 4 or not kernels.usable(x) or x.stride(3) != 1:
        return NotImplemented
    result = torch.empty(x.shape, dtype=dtype)
    kernels.put(result, torch.arange(x.shape[2])[None], x)
    return result


def all_true(mask: Tensor) -> Any:
    return False if kernels.capturing() else NotImplemented


def visible_by_tokens(queries: Tokens, keys: Tokens, *, causal: bool) -> Any:
    packed = queries.segment is not None and keys.segment is not None
    if packed or queries.prefix is not None or not _recording_on_cpu(queries.pos):
        return NotImplemented
    return kernels.sight(queries.pos, keys.pos, causal=causal)


def by_position(compute: Callable[[Tensor], Tensor], pos: Tensor) -> Any:
    """Compute a table of all positions once; each step looks up its own."""
    if not kernels.capturing():
        return NotImplemented
    table = compute(torch.arange(kernels.capacity(), device=pos.device)[None])[0]
    return functional.embedding(pos.clamp(min=0), table)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Any:
    if torch.is_grad_enabled() or not kernels.usable(x, cos, sin) or x.stride(3) != 1:
        return NotImplemented
    return kernels.rotary(x, cos, sin)


def zero_padding(x: Tensor, valid: Tensor) -> Any:
    if not kernels.capturing() or not x.is_contiguous() or not kernels.usable(x):
        return NotImplemented
    return kernels.blank(x, valid)


def _recording_on_cpu(tensor: Tensor) -> bool:
    return kernels.capturing() and tensor.device.type == "cpu" and kernels.usable()


LOWERINGS: Sequence[Callable[..., Any]] = (
    exchange_rows, assign_slots, slots_in_use, write_slots, zeros, to_cache_type, all_true, visible_by_tokens,
    by_position, rotate, zero_padding, project, project_activated,
)  # fmt: skip


def install() -> None:
    """Set the lowering of each operation, and add the back end `kernel`. Further calls have no effect."""
    for lowering in LOWERINGS:
        OPERATIONS[lowering.__name__].lowering = lowering
    add_backend(KERNEL, max_queries=MAX_QUERIES)
