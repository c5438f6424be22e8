"""Encodes sources longer than a model's positions in overlapping windows (Ivgi et al. 2023, SLED, section 3).

Each window is encoded on its own. The vector of a token is taken from the window in which it is farthest from an edge.
The decoder then attends to all vectors, with positions counted over the whole source. A row that fits is one window, so
that its memory does not depend on other rows. Shapes: N sources, S positions, W the
longest window, D features.

    memory = encode_in_windows(network.encode, source, tokens, longest=1024)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.mixers import Memory
from antiphon.nn.noise import Noise, RowRanges

CONTEXT = 8  # 1/8 of a window on each side is context, whose vectors are taken from the neighbouring window


class SourceWindow(NamedTuple):
    """A window over tokens `start` to `stop` of `row`; the vectors of tokens `first` to `last` are used."""

    row: int
    start: int
    stop: int
    first: int
    last: int


def windows_of(lengths: Sequence[int], longest: int) -> list[SourceWindow]:
    """The windows, of at most `longest` tokens, of rows of these lengths. Every token is used once."""
    context = longest // CONTEXT
    found: list[SourceWindow] = []
    for row, length in enumerate(lengths):
        start = first = 0
        while length - start > longest:
            last = start + longest - context
            found.append(SourceWindow(row, start, start + longest, first, last))
            start, first = last - context, last
        found.append(SourceWindow(row, start, length, first, length))
    return found


def encode_in_windows(
    encode: Callable[[Tensor, Tokens], Memory],
    source: Tensor,
    tokens: Tokens,
    *,
    longest: int,
    at_once: int | None = None,
    noise: Noise | None = None,
) -> Memory:
    """Encode source ids (N, S), padded on the right, in windows to their memory (N, S, D).

    `at_once`: the maximum number of tokens, padding included, that are encoded together; None: no limit, as in
    training, where activations are stored for the gradient anyway. `noise`: the key of dropout, whose rows, if it has
    some, become windows while they are encoded. Attention weights for `tokens.maps` are
    (N, H, S, S): those of each token in the window from which its vector is taken, zero outside of it.
    """
    lengths = tokens.valid.sum(1).expand(source.shape[0])
    windows = windows_of(lengths.tolist(), longest)
    rows = torch.tensor([window.row for window in windows], device=source.device)[:, None]
    starts = torch.tensor([window.start for window in windows], device=source.device)[:, None]
    sizes = torch.tensor([window.stop - window.start for window in windows], device=source.device)
    part = None if noise is None else _windows_of_part(noise.rows, longest)
    width = int(sizes.max()) if part is None else max(part.source_lengths)
    places = torch.arange(width, device=source.device)  # (W,)
    ids = source[rows, (starts + places).clamp(max=source.shape[1] - 1)]
    inner = replace(Tokens.of_lengths(sizes, places.shape[0]), maps=None if tokens.maps is None else {})
    step = len(windows) if at_once is None else max(1, at_once // places.shape[0])
    if noise is not None and part is not None:
        with noise.held(noise.key, part):
            hidden = encode(ids, inner).hidden
    elif step >= len(windows):
        hidden = encode(ids, inner).hidden
    else:
        hidden = torch.cat([encode(*group).hidden for group in _groups(ids, inner, windows, step)])
    for mixer, found in (inner.maps or {}).items():
        assert tokens.maps is not None
        whole_maps = [_whole_map(weights, windows, source.shape) for weights in found]
        tokens.maps.setdefault(mixer, []).extend(whole_maps)
    whole = hidden.new_zeros((*source.shape, hidden.shape[-1]))
    parts = [(w.row, w.first, w.last, hidden[i, w.first - w.start : w.last - w.start]) for i, w in enumerate(windows)]
    # One tensor of all used vectors and one of their positions: a single differentiable write.
    kept = torch.cat([part for *_, part in parts])
    where_row = torch.cat([torch.full((last - first,), row) for row, first, last, _ in parts]).to(source.device)
    where = torch.cat([torch.arange(first, last) for _, first, last, _ in parts]).to(source.device)
    return Memory(whole.index_put((where_row, where), kept), tokens.fresh())


def _windows_of_part(rows: RowRanges | None, longest: int) -> RowRanges | None:
    """The windows of the rows of a part of a micro-batch, among those of the whole; `source_lengths` are their
    widths."""
    if rows is None:
        return None
    windows = windows_of(rows.source_lengths, longest)
    firsts = [bisect_left(windows, row, key=lambda window: window.row) for row in range(rows.total + 1)]
    ranges = tuple((firsts[first], firsts[last]) for first, last in rows.ranges)
    return RowRanges(ranges, len(windows), tuple(window.stop - window.start for window in windows))


def _groups(ids: Tensor, tokens: Tokens, windows: Sequence[SourceWindow], step: int) -> Iterator[tuple[Tensor, Tokens]]:
    """The ids (windows, W) and tokens of `step` windows at a time. Full windows share one row of positions, so that
    masks and biases are computed once for all of them."""
    full = Tokens(torch.arange(ids.shape[1], device=ids.device)[None])
    for start in range(0, len(windows), step):
        rows = torch.arange(start, min(start + step, len(windows)), device=ids.device)
        alike = all(window.stop - window.start == ids.shape[1] for window in windows[start : start + step])
        yield ids[rows], full if alike else tokens.select(rows)


def _whole_map(weights: Tensor, windows: Sequence[SourceWindow], shape: Sequence[int]) -> Tensor:
    """Convert weights of windows (windows, H, W, W) to those of rows, (N, H, S, S); other shapes are unchanged."""
    if weights.dim() != 4 or weights.shape[0] != len(windows):
        return weights  # the caller reports the error
    rows, length = shape
    whole = weights.new_zeros(rows, weights.shape[1], length, length)
    for window, part in zip(windows, weights, strict=True):
        row, start, stop, first, last = window
        whole[row, :, first:last, start:stop] = part[:, first - start : last - start, : stop - start]
    return whole
