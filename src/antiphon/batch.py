"""The data types passed between stages: examples of ids, positions of tokens, and batches.

Shapes: B rows, S source positions, T target positions. One example::

    batch = collate([Example([5, 6, 2], [7, 2], 0)], pad_id=0, start_id=1)
    batch.target_ids.tolist(), batch.labels.tolist()    # [[1, 7]], [[7, 2]]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from antiphon.devices import choose_device


@dataclass(frozen=True, slots=True)
class LazyFeatures:
    """Features (S, F) that `load` computes when a batch is made; `length` is S, known before."""

    length: int
    load: Callable[[], Tensor]

    def __len__(self) -> int:
        return self.length


Source = list[int] | Tensor | LazyFeatures
"""The source of an example: ids, or features (S, F), computed or to be computed."""


@dataclass(frozen=True, slots=True)
class Example:
    """One pair as ids. `source` and `target` end with the end token if the task has one.

    A source that is not text is features (S, F) instead. `index` is its index in the corpus. `prompt` are ids before
    the target, such as a question about an image: the decoder reads them, and they have no labels.
    """

    source: Source
    target: list[int]
    index: int
    prompt: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Tokens:
    """The positions of the tokens of a batch of sequences of length L, and which of them are padding.

    `pos` is (B or 1, L), int64, counted over the real tokens of a segment, -1 at padding; one row if all rows agree.
    `segment` is (B or 1, L), 0 at padding, for packed rows. `prefix` is (B or 1, L), bool: a bidirectional prefix.
    `grid` is (B or 1, L, 2), int64: the row and column of each position of an image, of the patches from 0.
    `memo` caches values that the layers share within one forward (masks, biases, cache slots); a stack starts each
    forward with `fresh()`. `maps`, if given, collects the attention weights (B, H, Q, K) of the layers that read these
    tokens, by mixer. `in_order`: known to be one segment a row, padded on the right, so that no code needs to read the
    positions from a GPU to find out, for which the host would wait.
    """

    pos: Tensor
    segment: Tensor | None = None
    prefix: Tensor | None = None
    grid: Tensor | None = None
    memo: dict[object, object] = field(default_factory=dict, repr=False, compare=False)
    maps: dict[object, list[Tensor]] | None = field(default=None, repr=False, compare=False)
    in_order: bool = field(default=False, repr=False, compare=False)

    @property
    def valid(self) -> Tensor:
        """(B or 1, L), bool: the real tokens."""
        return self.pos >= 0

    def fresh(self) -> Tokens:
        """The same tokens with an empty `memo`."""
        return replace(self, memo={})

    def select(self, rows: Tensor) -> Tokens:
        """The tokens of `rows` (n,), in that order; tensors with a single shared row are unchanged."""

        def pick(value: Tensor | None) -> Tensor | None:
            return value if value is None or value.shape[0] == 1 else value.index_select(0, rows)

        pos = pick(self.pos)
        assert pos is not None
        return Tokens(pos, pick(self.segment), pick(self.prefix), pick(self.grid), in_order=self.in_order)

    def to(self, device: torch.device | str) -> Tokens:
        """The same tokens on `device`, with an empty `memo`. ConfigError for a device that does not exist."""
        return self._on(choose_device(device))

    def _on(self, device: torch.device) -> Tokens:
        segment = None if self.segment is None else _copied(self.segment, device)
        prefix = None if self.prefix is None else _copied(self.prefix, device)
        grid = None if self.grid is None else _copied(self.grid, device)
        return Tokens(_copied(self.pos, device), segment, prefix, grid, in_order=self.in_order)

    @staticmethod
    def of_lengths(lengths: Tensor, width: int) -> Tokens:
        """Rows of `lengths` (B,) real tokens, padded on the right to `width`."""
        steps = torch.arange(width, device=lengths.device)
        return Tokens(torch.where(steps < lengths[:, None], steps, -1), in_order=True)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of rows, padded on the right.

    `source`: ids (B, S), or features (B, S, F). `target_ids` (B, T): the decoder's input, which begins with the start
    token. `labels` (B, T): the token to predict at each position. `label_mask` (B, T): true where there is a label.
    `label_places` (n,): the indices of labels in the flattened (B·T), computed on the host, since computing their
    number on a device would make the host wait. `index` (B,): the indices of the examples in the corpus.
    """

    source: Tensor
    source_tokens: Tokens
    target_ids: Tensor
    target_tokens: Tokens
    labels: Tensor
    label_mask: Tensor
    label_places: Tensor
    index: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """A copy of the batch on `device`; `index` stays on the CPU. ConfigError for a device that does not exist."""
        device = choose_device(device)
        return Batch(
            _copied(self.source, device),
            self.source_tokens._on(device),
            _copied(self.target_ids, device),
            self.target_tokens._on(device),
            _copied(self.labels, device),
            _copied(self.label_mask, device),
            _copied(self.label_places, device),
            self.index,
        )


def _copied(value: Tensor, device: torch.device) -> Tensor:
    """A copy of `value` on `device`, through pinned memory: otherwise the copy waits for all earlier work of the
    GPU."""
    pinned = value.pin_memory() if device.type == "cuda" and value.device.type == "cpu" else value
    return pinned.to(device, non_blocking=True)


def pad(rows: Sequence[Sequence[int] | Tensor | LazyFeatures], *, pad_id: int) -> tuple[Tensor, Tokens]:
    """Pad rows of ids on the right to a tensor (B, L), and return it with its tokens. Features (L, F) are padded with
    zeros to (B, L, F)."""
    rows = [row.load() if isinstance(row, LazyFeatures) else row for row in rows]
    features = [row for row in rows if isinstance(row, Tensor)]
    if features:
        assert len(features) == len(rows), "the rows of a batch are of one kind"
        lengths = torch.tensor([len(row) for row in features])
        whole = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        return whole, Tokens.of_lengths(lengths, whole.shape[1])
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
    width = int(lengths.max()) if rows else 0
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows], dtype=torch.long).reshape(
        len(rows), width
    )
    return ids, Tokens.of_lengths(lengths, width)


def collate(examples: Sequence[Example], *, pad_id: int, start_id: int) -> Batch:
    """Make a batch of examples. The decoder's input is prompt and target shifted right by one, after `start_id`."""
    source, source_tokens = pad([example.source for example in examples], pad_id=pad_id)
    targets = [[*example.prompt, *example.target] for example in examples]
    labels, target_tokens = pad(targets, pad_id=pad_id)
    target_ids, _ = pad([[start_id, *target[:-1]][: len(target)] for target in targets], pad_id=pad_id)
    index = torch.tensor([example.index for example in examples], dtype=torch.long)
    prompts = torch.tensor([len(example.prompt) for example in examples], dtype=torch.long)
    mask = target_tokens.pos >= prompts[:, None]
    places = mask.flatten().nonzero()[:, 0]
    return Batch(source, source_tokens, target_ids, target_tokens, labels, mask, places, index)
