"""Splits batches that do not fit into memory in halves, and does not try a batch of that size again.

    splitter = BatchSplitter()
    answers = splitter.run(decode, rows, cost=len)        # one for each row, in their order

The answer of a row does not depend on the other rows of its batch, so the answers are those of the whole batch.
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
    """A bound on the cost of batches, lowered whenever one does not fit. One object for a run or a served model."""

    def __init__(self) -> None:
        self.max_cost: int | None = None  # half of the smallest cost that did not fit; None: all did
        self._has_warned = False

    def run(
        self, work: Callable[[Sequence[R]], Sequence[A]], rows: Sequence[R], *, cost: Callable[[Sequence[R]], int]
    ) -> list[A]:
        """Call `work` on `rows`, in as many parts as necessary. Returns one answer for each row.

        `cost` must increase with the memory that rows need, for example their number of tokens, padding included. Warns
        at the first split. Raises WorkError if a single row does not fit.
        """
        answers: list[A] = []
        waiting = [rows] if rows else []  # a stack: the next part is last
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
        """The answers; None if memory ran out, which lowers the bound."""
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
        # After the block above, since the error keeps the frames of the failed batch alive.
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
