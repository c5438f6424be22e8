"""Forced scores of every label for every source; the encoder runs once per source.

    label_scores(model, ["a fine film"], ["positive", "negative"])      # [[-0.1, -2.4]]

`softmax` over a row gives each label's probability among the labels. Shapes: N sources, W labels, L their longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from antiphon.batch import Tokens
from antiphon.config import GenerationConfig
from antiphon.errors import DataError
from antiphon.generation.languages import answer_ids
from antiphon.generation.protocols import AnsweringModel
from antiphon.inputs.kind import Source
from antiphon.inputs.limits import source_limit
from antiphon.runtime.inference import as_rows, evaluating, label_log_p, sum_type
from antiphon.search.batching import MAX_HYPOTHESES
from antiphon.search.length_checks import check_length


def label_scores(
    model: AnsweringModel,
    rows: Sequence[Any],
    labels: Sequence[str],
    *,
    config: GenerationConfig | None = None,
    first_row: int = 0,
    prompts: Sequence[tuple[int, ...]] = (),
) -> list[list[float]]:
    """For each of `rows` the log-probability of each of `labels` with its end token, in nats, as by `Model.score`.

    `rows` are rows of the model's input kind. Of `config` only `batch_size` (rows per batch), `overflow` and
    `max_source_tokens` are used; a row is never split. Errors count rows from `first_row`. `prompts`: the ids before
    the labels of each row. Raises DataError if there is no label, or if a source or a label is too long for the model.
    """
    if not labels:
        raise DataError("there must be at least one label, but there is none.")
    config = config or GenerationConfig()
    most, limit = model.network.max_length, source_limit(model.network, config)
    sources = model.input_kind.whole(rows, network=model.network, config=config, first_row=first_row)
    targets = answer_ids(labels, model.target_tokenizer, model.special_tokens)
    own = prompts or [()] * len(sources)
    longest = max(map(len, own), default=0)
    for row, ids in enumerate(targets):
        check_length(ids, most - longest, what=f"label {row + 1}")
    scores: list[list[float]] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda row: (own[row], -len(sources[row])))
    size = config.batch_size or max(1, MAX_HYPOTHESES // len(labels))
    for prompt, together in groupby(order, key=own.__getitem__):
        same = list(together)
        for first in range(0, len(same), size):
            batch = same[first : first + size]
            found = _scores(model, [sources[row] for row in batch], targets, prompt=prompt, window=limit)
            for row, each in zip(batch, found, strict=True):
                scores[row] = each
    return scores


def _scores(
    model: AnsweringModel,
    sources: Sequence[Source],
    targets: Sequence[list[int]],
    *,
    prompt: tuple[int, ...],
    window: int,
) -> list[list[float]]:
    """The scores (N, W) of a batch of sources with one prompt, with the labels as hypotheses of each."""
    network, tokens = model.network, model.special_tokens
    start, before = tokens.start, len(tokens.first) + len(prompt)
    if prompt:
        targets = [[*tokens.first, *prompt, *tokens.without_first(ids)] for ids in targets]
    count, width, length = len(sources), len(targets), max(map(len, targets))
    labels, label_tokens = as_rows(targets, network.device)
    valid = label_tokens.valid.expand(width, -1)
    # Padding comes after the labels and is never scored, so all rows may share their positions.
    places = torch.arange(length, device=network.device)[None]
    begun = torch.cat([labels.new_full((width, 1), start), labels[:, :-1]], 1)
    with evaluating(network):
        source, source_tokens = as_rows(sources, network.device)
        memory = network.encode(source, source_tokens, window=window)
        state = network.begin(memory, width=width, capacity=length)
        hidden, _ = network.decode(begun.repeat(count, 1), Tokens(places), memory, state)  # (N·W, L, D)
        log_p = label_log_p(network, hidden.flatten(0, 1), labels.repeat(count, 1).flatten())
    log_p = log_p.view(count, width, length).to(sum_type(network.device))
    return log_p.masked_fill(~valid, 0)[:, :, before:].sum(2).tolist()
