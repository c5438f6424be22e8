"""Memory that runs out in a training step: micro-batches of that size are computed in parts from then on.

    splitter = MicroBatchSplitter(sizes, RunEvents(print))
    while True:
        try:
            for part in splitter.parts(batch):
                noise.set(seed=0, step=7, micro_batch=2, rows=part.rows)
                (network(part.batch, criterion).objective / labels).backward()
            break
        except (MemoryError, RuntimeError) as error:
            splitter.learn(error, step=7)              # raises what is no lack of memory, or cannot be split
        network.zero_grad(set_to_none=True)            # the backward pass may have added a part of a gradient
        free_memory()

A part is a run of rows with the padding of the whole. Its dropout has the bits that these rows have in the whole
(`RowRanges`), so the gradients of the parts sum to that of the whole, but for the rounding of sums. After a failure the
whole step is computed again, so nothing is counted twice.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from antiphon.batch import Batch, Tokens
from antiphon.errors import WorkError, memory_ran_out, one_line
from antiphon.nn.noise import RowRanges
from antiphon.training.guards.events import RunEvents


@dataclass(slots=True)
class SplitSizes:
    """The sizes of micro-batches that are split, in positions of both sides, padding included.

    `fails_from` is the smallest size for which memory ran out, `part_most` the largest size of a part; None: no
    failure yet. `step` is the step of the first failure, `failures` their number.
    """

    fails_from: int | None = None
    part_most: int | None = None
    step: int | None = None
    failures: int = 0

    def most_rows(self, rows: int, width: int) -> int:
        """The number of rows that are computed together, of `rows` rows of `width` positions."""
        if self.fails_from is None or self.part_most is None or rows * width < self.fails_from:
            return rows
        count = -(-rows // max(1, self.part_most // width))  # as few parts as needed, of equal sizes
        return -(-rows // count)


@dataclass(frozen=True, slots=True)
class BatchPart:
    """A part of a micro-batch; `rows` is None if it is all of it."""

    batch: Batch
    rows: RowRanges | None


class MicroBatchSplitter:
    """Splits micro-batches by what `sizes` knows. `events` gets one line, when memory runs out for the first time.

    Without `enabled`, for example where the largest batch that fits is searched, `learn` raises every error.
    """

    def __init__(self, sizes: SplitSizes, events: RunEvents) -> None:
        self.sizes, self.events = sizes, events
        self.enabled = True
        self._draws_noted = False
        self._computed: Batch | None = None  # the part that is computed

    def parts(self, batch: Batch, *, paired: bool = False) -> Iterator[BatchPart]:
        """The parts of a micro-batch, one after the other. `paired`: each part passes twice in one forward (R-Drop)."""
        rows, width = size_of(batch)
        most = self.sizes.most_rows(rows, width)
        if most >= rows:
            self._computed = batch
            yield BatchPart(batch, None)
            return
        lengths = tuple(batch.source_tokens.valid.sum(1).expand(rows).tolist())
        labels = batch.label_mask.sum(1).cumsum(0).tolist()
        for first in range(0, rows, most):
            last = min(first + most, rows)
            part = rows_of(batch, first, last, labels=(labels[first - 1] if first else 0, labels[last - 1]))
            self._computed = part
            ranges = RowRanges(((first, last),), rows, lengths)
            before = generator_state(batch.labels.device)
            yield BatchPart(part, ranges.twice() if paired else ranges)
            self._note_draws(before, batch.labels.device, reset=last < rows)

    def _note_draws(self, before: Tensor, device: torch.device, *, reset: bool) -> None:
        """Say once that a custom layer drew from PyTorch's generator, whose bits for a part are not those of the whole.
        `reset`: the next part begins with the generator as this one did."""
        if torch.equal(before, generator_state(device)):
            return
        if not self._draws_noted:
            self._draws_noted = True
            self.events.say(
                "a custom layer draws random numbers from PyTorch's generator: for a micro-batch in parts they are "
                "others than for the whole. Draw them by a `Dropout` of antiphon.nn for equal gradients."
            )
        if reset:
            set_generator_state(before, device)

    def learn(self, error: Exception, *, step: int) -> None:
        """Remember that memory ran out for the part that was computed last.

        Raises `error` if it is another one, and WorkError if the part is a single row.
        """
        if not (self.enabled and memory_ran_out(error)) or self._computed is None:
            raise error
        batch = self._computed
        rows, width = size_of(batch)
        if rows == 1:
            raise WorkError(
                f"memory ran out in step {step} for a single row of {batch.source.shape[1]} source and "
                f"{batch.labels.shape[1]} target positions (example {int(batch.index)}), which cannot be split "
                f"({one_line(error)}). Take a device with more memory, or start a new run with a smaller "
                "`data.max_length` or with `training.checkpoint_activations`."
            ) from error
        sizes, size, half = self.sizes, rows * width, -(-rows // 2)
        line = None
        if sizes.fails_from is None:
            sizes.step = step
            line = (
                f"memory ran out in step {step} for {rows} rows of {width} positions; the step is computed again in "
                f"parts of {half} rows, and so is every micro-batch of {size} positions or more: equal gradients, "
                "fewer tokens per second"
            )
        sizes.failures += 1
        sizes.fails_from = min(size, sizes.fails_from or size)
        sizes.part_most = min(half * width, sizes.part_most or size)
        self.events.add("memory", line, step=step, rows=rows, positions=size, part_most=sizes.part_most)


def size_of(batch: Batch) -> tuple[int, int]:
    """The number of rows, and of the positions of each on both sides."""
    return batch.labels.shape[0], batch.source.shape[1] + batch.labels.shape[1]


def rows_of(batch: Batch, first: int, last: int, *, labels: tuple[int, int]) -> Batch:
    """The rows `first` to `last` of a batch, with its padding. `labels`: the numbers of labels before these rows and up
    to their end."""
    width = batch.labels.shape[1]

    def tokens(value: Tokens) -> Tokens:
        def take(part: Tensor | None) -> Tensor | None:
            return part if part is None or part.shape[0] == 1 else part[first:last]

        pos = take(value.pos)
        assert pos is not None
        return Tokens(pos, take(value.segment), take(value.prefix))

    names = ("source", "target_ids", "labels", "label_mask", "index")
    return replace(
        batch,
        source_tokens=tokens(batch.source_tokens),
        target_tokens=tokens(batch.target_tokens),
        label_places=batch.label_places[labels[0] : labels[1]] - first * width,
        **{name: getattr(batch, name)[first:last] for name in names},
    )


def generator_state(device: torch.device) -> Tensor:
    """The state of PyTorch's global generator of a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_generator_state(state: Tensor, device: torch.device) -> None:
    """The inverse of `generator_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def free_memory() -> None:
    """Free what a failed step has left. Call it outside of the `except` clause: the error holds the step's tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

