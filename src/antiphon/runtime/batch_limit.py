"""The largest batch that fits into memory, learned from those that did not.

limit = BatchLimit()
limit.lower(cost, count=32)       # after a batch of 32 sources and this cost did not fit
limit.max_cost                    # half of it
"""

from __future__ import annotations

import gc
import warnings

import torch


class BatchLimit:
    """A bound on the cost of batches. One object for a run or a served model. `max_cost` None: all did fit so far.

    The cost of a batch must increase with the memory that it needs, for example its number of tokens, padding included.
    """

    def __init__(self) -> None:
        self.max_cost: int | None = None
        self._has_warned = False

    def lower(self, cost: int, *, count: int) -> None:
        """Called after a batch of `count` sources with this cost did not fit; warns at the first call.

        The frames of the failed batch must be gone, that is, not within the `except` block.
        """
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        half = max(1, cost // 2)
        self.max_cost = half if self.max_cost is None else min(self.max_cost, half)
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"memory ran out at {count} inputs at once: from here on batches have half the size.", stacklevel=3
            )
