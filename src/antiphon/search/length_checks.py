"""Checks that targets are not longer than the network takes; those of sources are `antiphon.inputs.limits`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from antiphon.errors import DataError


def check_length(ids: Sequence[int] | Tensor, limit: int, *, what: str, remedy: str = "Shorten it.") -> None:
    """DataError if `ids` has more than `limit` ids, which is the network's `max_length`."""
    if len(ids) > limit:
        raise DataError(
            f"{what} must have at most {limit} tokens (the model's max_length, end included), "
            f"but has {len(ids)}. {remedy}"
        )
