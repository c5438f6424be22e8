"""Which sources are searched together: those of similar length, as many as the bounds of a batch allow.

`indices` below are places in a list of requests. W is the number of hypotheses of a source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from antiphon.search.config import SearchConfig
from antiphon.search.requests import Request

MAX_HYPOTHESES = 256  # of all sources
MAX_LOGITS = 2**24  # numbers: hypotheses times ids
MAX_CACHE_TOKENS = 2**16  # hypotheses times the longest limit of an answer
MAX_FRAME_SCORES = 2**26  # numbers: sources times the longest source times ids, if a CTC head scores
MAX_SOURCE_TOKENS = 2**14  # sources times the longest source


def batches(
    requests: Sequence[Request], config: SearchConfig, *, vocab_size: int, batch_size: int | None
) -> Iterator[list[int]]:
    """The indices of `requests` in batches, longest source first; `batch_size` None: as many as the bounds allow."""
    waiting = longest_first(requests)
    while waiting:
        yield take_batch(waiting, requests, config, vocab_size=vocab_size, batch_size=batch_size)


def max_sources(config: SearchConfig, *, vocab_size: int) -> int:
    """The most sources of a batch, whatever their lengths."""
    return max(1, min(MAX_HYPOTHESES, MAX_LOGITS // vocab_size) // config.width)


def cost(count: int, source_tokens: int, limit: int, *, width: int) -> int:
    """Numbers that the memory of a batch of `count` sources grows with."""
    return count * width * (source_tokens + limit)


def longest_first(requests: Sequence[Request]) -> deque[int]:
    """The indices of `requests`, longest source first."""
    return deque(sorted(range(len(requests)), key=lambda index: -len(requests[index].source)))


def take_batch(
    waiting: deque[int],
    requests: Sequence[Request],
    config: SearchConfig,
    *,
    vocab_size: int,
    batch_size: int | None,
    max_cost: int | None = None,
) -> list[int]:
    """Remove the first indices from `waiting`: `batch_size` of them (None: as many as the bounds allow). If there is a
    `max_cost`, no batch of several has a greater `cost`."""
    most = max_sources(config, vocab_size=vocab_size)
    batch: list[int] = []
    source_tokens = limit = 0  # the longest so far
    while waiting:
        request, count = requests[waiting[0]], len(batch) + 1
        limit, source_tokens = max(limit, request.limit), max(source_tokens, len(request.source))
        is_full = (
            count > most or count * source_tokens > MAX_SOURCE_TOKENS or count * config.width * limit > MAX_CACHE_TOKENS
        )
        if config.ctc_weight:
            is_full = is_full or count * source_tokens * vocab_size > MAX_FRAME_SCORES
        is_costly = max_cost is not None and cost(count, source_tokens, limit, width=config.width) > max_cost
        if batch and (is_costly or (count > batch_size if batch_size is not None else is_full)):
            break
        batch.append(waiting.popleft())
    return batch
