"""The memories of the sources of a batch. In int8 that of a source has the same bits in any batch.

    memory = encode_sources(runtime, [[5, 6, 2], [7, 2]])

Padding changes the last bits of PyTorch's attention, and int8 layers may round such a difference up to a step. So short
sources are read by the attention kernel, whose results do not depend on padding, with as little padding as pays. Longer
ones, for which other back ends are faster, are read only together with sources of equal length.
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
    if runtime.pads_exactly is None and not isinstance(sources[0], Tensor):
        runtime.pads_exactly = _pads_exactly(runtime, sources[0])

    lengths = [len(source) for source in sources]
    most = KERNEL_TOKENS if runtime.pads_exactly else 0
    order, parts = sorted(range(len(sources)), key=lambda row: lengths[row]), []
    groups = _groups([lengths[row] for row in order if lengths[row] <= most], overhead=runtime.call_tokens)
    groups += [len(list(rows)) for _, rows in itertools.groupby(lengths[row] for row in order if lengths[row] > most)]
    first = 0
    for count in groups:
        rows, first = order[first : first + count], first + count
        with for_any_number_of_queries() if lengths[rows[0]] <= most else contextlib.nullcontext():
            parts.append(_encode(runtime, [sources[row] for row in rows], window))
    found = parts[0].with_rows_of(parts[1:]) if len(parts) > 1 else parts[0]
    place = torch.tensor(order, device=runtime.network.device).argsort()
    return found if order == sorted(order) else found.with_own_positions().select(place)


def _groups(lengths: Sequence[int], *, overhead: int) -> list[int]:
    """How many of the sources, shortest first, are encoded in each call, so that the tokens, padding included, are as
    few as possible. A call itself costs as much as `overhead` tokens."""
    ends = [place for place in range(1, len(lengths)) if lengths[place - 1] != lengths[place]] + [len(lengths)]
    best = {0: (0, 0)}  # the tokens of the first sources, and where the last call begins
    for end in ends if lengths else []:
        cost = (best[start][0] + (end - start) * lengths[end - 1] + overhead for start in best)
        best[end] = min(zip(cost, list(best), strict=True))
    counts, end = [], len(lengths)
    while end > 0:
        counts.append(end - best[end][1])
        end = best[end][1]
    return counts[::-1]


def _encode(runtime: Runtime, sources: Sequence[list[int] | Tensor], window: int | None) -> Memory:
    return runtime.network.encode(*as_rows(sources, runtime.network.device), window=window)


def _pads_exactly(runtime: Runtime, source: list[int]) -> bool:
    """Whether padding changes no bit, since the kernel reads every layer of the encoder; tried with ids of `source`."""
    ids = itertools.cycle(source)
    sources: list[list[int] | Tensor] = [list(itertools.islice(ids, length)) for length in _TRIAL_LENGTHS]
    with for_any_number_of_queries():
        together = _encode(runtime, sources, None).hidden
        alone = [_encode(runtime, [each], None).hidden[0] for each in sources]
    return all(torch.equal(row[: len(own)], own) for row, own in zip(together, alone, strict=True))
