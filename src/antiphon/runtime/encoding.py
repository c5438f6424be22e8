"""The memories of the sources of a batch. In int8 that of a source has the same bits in any batch.

    memory = encode_sources(runtime, [[5, 6, 2], [7, 2]])

Padding changes the last bits of PyTorch's attention, and int8 layers may round such a difference up to a step. So short
sources are read by the attention kernel, whose results do not depend on padding, and longer ones, for which other back
ends are faster, only together with sources of equal length.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.nn.backends import for_any_number_of_queries
from antiphon.nn.mixers import Memory
from antiphon.runtime.inference import as_rows
from antiphon.runtime.runtime import Runtime

KERNEL_TOKENS = 160  # longest source that the kernel reads as fast as the other back ends do
_TRIAL_LENGTHS = (3, 7, 12)


def encode_sources(runtime: Runtime, sources: Sequence[list[int] | Tensor], *, window: int | None = None) -> Memory:
    """The memory of `sources`, ids or features; `window` as in `Seq2Seq.encode`."""
    if not runtime.is_quantized:
        return _encode(runtime, sources, window)
    if runtime.pads_exactly is None:
        runtime.pads_exactly = _pads_exactly(runtime)

    def size(row: int) -> int:
        """Equal for sources that are encoded together: their length, 0 for short ones."""
        source = sources[row]
        is_short = runtime.pads_exactly and not isinstance(source, Tensor) and len(source) <= KERNEL_TOKENS
        return 0 if is_short else len(source)

    order = sorted(range(len(sources)), key=size)
    parts = []
    for length, rows in itertools.groupby(order, key=size):
        with for_any_number_of_queries() if length == 0 else contextlib.nullcontext():
            parts.append(_encode(runtime, [sources[row] for row in rows], window))
    if len(parts) == 1:
        return parts[0]
    return parts[0].with_rows_of(parts[1:]).select(torch.tensor(order, device=runtime.network.device).argsort())


def _encode(runtime: Runtime, sources: Sequence[list[int] | Tensor], window: int | None) -> Memory:
    return runtime.network.encode(*as_rows(sources, runtime.network.device), window=window)


def _pads_exactly(runtime: Runtime) -> bool:
    """Whether the kernel reads every layer of the encoder, so that padding changes no bit."""
    ids = itertools.cycle(range(min(runtime.network.vocab_size, 50)))
    sources: list[list[int] | Tensor] = [list(itertools.islice(ids, length)) for length in _TRIAL_LENGTHS]
    try:
        with for_any_number_of_queries():
            together = _encode(runtime, sources, None).hidden
            alone = [_encode(runtime, [source], None).hidden[0] for source in sources]
    except (TypeError, RuntimeError):  # the network takes features
        return False
    return all(torch.equal(row[: len(own)], own) for row, own in zip(together, alone, strict=True))
