"""Checks of the lengths of sources.

limit = source_limit(network, config)           # 512
check_source(ids, limit, most=network.max_length, row=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError, DataError

SHORTER = "Shorten it, or set `overflow` to truncate, split or window"  # the remedy for a source that is too long


class BoundedNetwork(Protocol):
    """A network with a maximum length."""

    @property
    def max_length(self) -> int: ...


def source_limit(network: BoundedNetwork, config: GenerationConfig) -> int:
    """The largest number of source tokens that are encoded at once, including the end token.

    `max_source_tokens`, or the network's `max_length`; ConfigError if the first is larger.
    """
    asked = config.max_source_tokens
    if asked is not None and asked > network.max_length:
        raise ConfigError(
            f"`max_source_tokens` must be at most the model's max_length ({network.max_length}), but is {asked}. "
            "Lower it."
        )
    return asked or network.max_length


def check_source(
    ids: Sequence[int] | Tensor, limit: int, *, most: int, row: int, what: str | None = None, remedy: str = SHORTER
) -> None:
    """DataError if a source has more than `limit` ids.

    `most` is the network's `max_length`, `row` the index of the input.
    """
    if len(ids) <= limit:
        return
    name = "the model's max_length" if limit == most else "`max_source_tokens`"
    further = "" if limit == most else f", or raise `max_source_tokens`, up to the model's max_length ({most})"
    raise DataError(
        f"{what or f'input {row + 1}'} must have at most {limit} tokens ({name}, end included), but has {len(ids)}. "
        f"{remedy}{further}."
    )
