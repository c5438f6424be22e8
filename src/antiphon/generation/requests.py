"""Turns the rows of a call into inputs of the search: parts of sources, prefixes and constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError
from antiphon.generation.languages import answer_ids
from antiphon.generation.protocols import AnsweringModel
from antiphon.generation.restricting import check_parts, restrict
from antiphon.search.requests import SourceInput
from antiphon.settings import override


def source_inputs(
    model: AnsweringModel,
    rows: Sequence[Any],
    config: GenerationConfig,
    *,
    first_row: int = 0,
    prompts: Sequence[tuple[int, ...]] = (),
) -> list[SourceInput]:
    """The inputs of the search: none for an empty row, one for each part of a row that is split.

    `rows` are rows of the model's input kind; errors count them from `first_row`. `prompts`: the ids of the prompt of
    each row, which all of its parts have.
    """
    prefixes = prefix_ids(model, config.prefix, len(rows))
    restrictions = restrict(config, model.restrictor, count=len(rows), first_row=first_row)
    found: list[SourceInput] = []
    parts_of_rows = model.input_kind.parts(rows, network=model.network, config=config, first_row=first_row)
    for i, (parts, gaps) in enumerate(parts_of_rows):
        row = first_row + i
        if parts:
            check_parts(restrictions[i], len(parts), row=row)
        # A prefix begins the whole answer, so that only the first part has it.
        found += [
            SourceInput(part, row, n, () if n else prefixes[i], restrictions[i], gap, prompts[i] if prompts else ())
            for n, (part, gap) in enumerate(zip(parts, gaps, strict=True))
        ]
    return found


def with_limits(config: GenerationConfig, overflow: str | None, max_source_tokens: int | None) -> GenerationConfig:
    """`config` with these settings for long sources; None leaves a setting unchanged."""
    asked = {"overflow": overflow, "max_source_tokens": max_source_tokens}
    return override(config, {name: value for name, value in asked.items() if value is not None})


def prefix_ids(model: AnsweringModel, prefix: str | tuple[str | None, ...] | None, count: int) -> list[tuple[int, ...]]:
    """The ids with which the answer of each of `count` rows begins."""
    rows = prefix if isinstance(prefix, tuple) else (prefix,) * count
    if len(rows) != count:
        raise ConfigError(f"`prefix` must be one text, or one for each of the {count} inputs, but has {len(rows)}.")
    known: dict[str | None, tuple[int, ...]] = {None: (), "": ()}
    for text in rows:
        if text is not None and text not in known:
            ids = model.special_tokens.without_first(
                answer_ids([text], model.target_tokenizer, model.special_tokens)[0]
            )
            known[text] = tuple(id for id in ids if id != model.special_tokens.end)
    return [known[text] for text in rows]
