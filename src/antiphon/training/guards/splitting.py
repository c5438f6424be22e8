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
from contextlib import contextmanager
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

    def parts(self, rows: int, width: int) -> int:
        """The number of parts of `rows` rows of `width` positions."""
        return -(-rows // self.most_rows(rows, width))

    def merge(self, other: SplitSizes) -> None:
        """Take the smaller sizes of both."""
        steps = [each for each in (self.step, other.step) if each is not None]
        fails = [each for each in (self.fails_from, other.fails_from) if each is not None]
        mosts = [each for each in (self.part_most, other.part_most) if each is not None]
        self.step, self.fails_from, self.part_most = (min(each, default=None) for each in (steps, fails, mosts))
        self.failures = max(self.failures, other.failures)


@dataclass(frozen=True, slots=True)
class BatchPart:
    """A part of a micro-batch; `rows` is None if it is all of it. `batch` None: there is nothing to compute, while
    other ranks compute a part. `last`: of the micro-batch."""

    batch: Batch | None
    rows: RowRanges | None = None
    last: bool = True


class MicroBatchSplitter:
    """Splits micro-batches by what `sizes` knows. `events` gets one line, when memory runs out for the first time.

    Without `enabled`, for example where the largest batch that fits is searched, `learn` raises every error.
    """

    def __init__(self, sizes: SplitSizes, events: RunEvents) -> None:
        self.sizes, self.events = sizes, events
        self.enabled = True
        self.count = 0  # of the micro-batches that were split in this step
        self._draws_noted = False
        self._computed: Batch | None = None  # the part that is computed

    def parts(self, batch: Batch | None, *, paired: bool = False, least: int = 1) -> Iterator[BatchPart]:
        """The parts of a micro-batch, one after the other, and nothing behind them up to `least` parts in all.
        `paired`: each part passes twice in one forward (R-Drop)."""
        count = 0
        for part in () if batch is None else self._parts(batch, paired=paired):
            count += 1
            yield replace(part, last=part.last and count >= least)
        self.count += count > 1
        for number in range(count, least):
            yield BatchPart(None, last=number == least - 1)

    def _parts(self, batch: Batch, *, paired: bool) -> Iterator[BatchPart]:
        rows, width = size_of(batch)
        most = self.sizes.most_rows(rows, width)
        if most >= rows:
            self._computed = batch
            yield BatchPart(batch)
            return
        lengths = tuple(batch.source_tokens.valid.sum(1).expand(rows).tolist())
        labels = [0, *batch.label_mask.sum(1).cumsum(0).tolist()]
        for first in range(0, rows, most):
            last = min(first + most, rows)
            part = self._computed = rows_of(batch, first, last, labels=(labels[first], labels[last]))
            ranges = RowRanges(((first, last),), rows, lengths)
            yield BatchPart(part, ranges.twice() if paired else ranges, last == rows)

    @contextmanager
    def watching(self, rows: RowRanges | None, device: torch.device) -> Iterator[None]:
        """The context of the forward of a part. Says once if a custom layer drew from PyTorch's generator, whose bits
        for a part are not those of the whole."""
        before = None if rows is None or self._draws_noted else generator_state(device)
        yield
        if before is not None and not torch.equal(before, generator_state(device)):
            self._draws_noted = True
            self.events.say(
                "a custom layer draws random numbers from PyTorch's generator: for a micro-batch in parts they are "
                "others than for the whole. Draw them by a `Dropout` of antiphon.nn for equal gradients."
            )

    def learn(self, error: Exception, *, step: int, repeats: bool = True) -> None:
        """Remember that memory ran out for the part that was computed last. `repeats`: the step is computed again.

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
        if sizes.failures == 0 and repeats:
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


def free_memory() -> None:
    """Free what a failed step has left. Call it outside of the `except` clause: the error holds the step's tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
