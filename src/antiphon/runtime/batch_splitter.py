"""Batches that do not fit memory: cut in halves until they do, and no larger one is tried again in the same run.

    room = BatchSplitter()
    answers = room.run(decode, rows, cost=len)            # one for each row, in their order

An answer does not depend on what runs beside it, so that the answers are those of the whole batch.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from antiphon.errors import WorkError, memory_ran_out, one_line

R = TypeVar("R")
A = TypeVar("A")


class BatchSplitter:
    """What a batch may cost, learnt from those that did not fit; one for a run, or for a model that serves."""

    def __init__(self) -> None:
        self.max_cost: int | None = None  # the cost that is known to be too much, halved; None: none was
        self._has_warned = False

    def run(
        self, work: Callable[[Sequence[R]], Sequence[A]], rows: Sequence[R], *, cost: Callable[[Sequence[R]], int]
    ) -> list[A]:
        """`work` of `rows`, one answer for each, in as many parts as it takes; the first that is cut is warned of.

        `cost` of some rows must grow with them, as the memory that they need does: tokens with padding, for example.
        WorkError where one row alone does not fit.
        """
        answers: list[A] = []
        waiting = [rows] if rows else []  # the next one last
        while waiting:
            part = waiting.pop()
            too_much = self.max_cost is not None and len(part) > 1 and cost(part) > self.max_cost
            made = None if too_much else self._tried(work, part, cost(part))
            if made is None:
                middle = (len(part) + 1) // 2
                waiting += [part[middle:], part[:middle]]
            else:
                answers += made
        return answers

    def _tried(self, work: Callable[[Sequence[R]], Sequence[A]], rows: Sequence[R], cost: int) -> Sequence[A] | None:
        """The answers; None where memory ran out, and then with a smaller bound."""
        try:
            return work(rows)
        except (MemoryError, RuntimeError) as error:
            if not memory_ran_out(error):
                raise
            if len(rows) == 1:
                raise WorkError(
                    f"an input must fit memory, but one alone does not ({one_line(error):.200}). Shorten it, or lower "
                    "`beam_size` or `max_new_tokens`."
                ) from error
        # Behind the block above, where nothing holds the failed batch any more: the error held its frames.
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        half = max(1, cost // 2)
        self.max_cost = half if self.max_cost is None else min(self.max_cost, half)
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"memory ran out at {len(rows)} inputs at once: from here on batches have half the size.", stacklevel=3
            )
        return None
