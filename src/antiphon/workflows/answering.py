"""The search settings that a run keeps with its model: those of the recipe, and of long sources what training did.

    settings, notes = answering(config, base=parts, corpus=corpus)

A model answers under the limit that it was trained with: `generation.max_source_tokens` is `data.max_length` unless the
recipe says it, and `generation.overflow` is `data.overflow` where that is truncate or window and the recipe's own is
error. Under `data.overflow: skip` longer sources are only left out of training, so that no limit follows from it.
Without `data.max_length` the base's own limit stays, or grows to the longest source of the training data.
"""

from __future__ import annotations

from dataclasses import replace

from antiphon.config import GenerationConfig, TrainConfig
from antiphon.data import InMemory, Streamed
from antiphon.models.folders.checkpoint import Parts


def answering(
    config: TrainConfig, *, base: Parts | None, corpus: InMemory | Streamed, most: int
) -> tuple[GenerationConfig, tuple[str, ...]]:
    """The settings to keep, and the line to say of what they take from `data`, none where that is nothing.

    `base` is what the run begins with, `most` the network's `max_length`.
    """
    asked, data = config.generation, config.data
    overflow = data.overflow if asked.overflow == "error" and data.overflow in ("truncate", "window") else None
    limit = asked.max_source_tokens
    if limit is None:
        bounded = data.max_length if data.overflow != "skip" else None
        limit = bounded or (None if base is None else _of_base(base, corpus))
        limit = limit if limit is not None and limit < most else None
    settings = replace(asked, max_source_tokens=limit, overflow=overflow or asked.overflow)
    taken = [] if overflow is None else [f"`generation.overflow: {overflow}` from `data.overflow`"]
    if limit is not None and limit == data.max_length and asked.max_source_tokens is None:
        taken.append(f"`generation.max_source_tokens: {limit}` from `data.max_length`")
    said = f"answers read long sources as training does: {' and '.join(taken)}"
    return settings, (said,) if taken else ()


def _of_base(base: Parts, corpus: InMemory | Streamed) -> int | None:
    """The limit of the base, or the longest source that is learned, where that is longer and known."""
    limit = base.generation.max_source_tokens
    if limit is None or not isinstance(corpus, InMemory):
        return None
    return max([limit, *(corpus.lengths(index)[0] for index in range(len(corpus)))])
