"""The search settings saved with a trained model: those of the recipe, completed by how training treated long sources.

    settings, notes = saved_search_settings(config, base=parts, corpus=corpus)

By default a model generates with the limits of its training. `generation.max_source_tokens` defaults to
`data.max_length`. `generation.overflow` defaults to `data.overflow` if that is truncate or window. `data.overflow:
skip` only drops longer sources from training and sets no limit. Without `data.max_length` the limit of the base
remains, or grows to the longest source in the training data.
"""

from __future__ import annotations

from dataclasses import replace

from antiphon.config import GenerationConfig, TrainConfig
from antiphon.data import InMemory, Streamed
from antiphon.models.folders.checkpoint import Parts
from antiphon.workflows.media import kind_of


def saved_search_settings(
    config: TrainConfig, *, base: Parts | None, corpus: InMemory | Streamed, max_length: int
) -> tuple[GenerationConfig, tuple[str, ...]]:
    """The settings to save, and a message about those taken from `data`, if any.

    `base` is the pretrained model that the run starts from, `max_length` that of the network.
    """
    given, data = config.generation, config.data
    if not kind_of(config).has_tokens:  # no limit of tokens applies to images and sound
        return given, ()
    overflow = data.overflow if given.overflow == "error" and data.overflow in ("truncate", "window") else None
    limit = given.max_source_tokens
    if limit is None:
        bounded = data.max_length if data.overflow != "skip" else None
        limit = bounded or (None if base is None else _of_base(base, corpus))
        limit = limit if limit is not None and limit < max_length else None
    settings = replace(given, max_source_tokens=limit, overflow=overflow or given.overflow)
    taken = [] if overflow is None else [f"`generation.overflow: {overflow}` from `data.overflow`"]
    if limit is not None and limit == data.max_length and given.max_source_tokens is None:
        taken.append(f"`generation.max_source_tokens: {limit}` from `data.max_length`")
    message = f"answers read long sources as training does: {' and '.join(taken)}"
    return settings, (message,) if taken else ()


def _of_base(base: Parts, corpus: InMemory | Streamed) -> int | None:
    """The limit of the base, or the longest training source if that is known and longer."""
    limit = base.generation.max_source_tokens
    if limit is None or not isinstance(corpus, InMemory):
        return None
    return max([limit, *(corpus.lengths(index)[0] for index in range(len(corpus)))])
