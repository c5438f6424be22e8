"""Forced scores of every label for every text, the encoder run once a text.

    label_scores(model, ["a fine film"], ["positive", "negative"])      # [[-0.1, -2.4]]

`softmax` over a row gives each label's probability among the labels. Shapes: N texts, W labels, L their longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from antiphon.batch import Tokens
from antiphon.config import GenerationConfig
from antiphon.errors import DataError
from antiphon.generation.languages import answer_ids
from antiphon.generation.long_inputs.overflow import prepare
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.runtime.inference import as_rows, evaluating, label_log_p, sum_type
from antiphon.search.batching import MAX_HYPOTHESES
from antiphon.search.length_checks import check_length, source_limit
from antiphon.search.special_tokens import SpecialTokens
from antiphon.text import Tokenizer

Ids = Sequence[list[int]]


class LabelledModel(Protocol):
    """What is needed of a model, which itself may need this module."""

    network: EncoderDecoder
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    marks: SpecialTokens


def label_scores(
    model: LabelledModel,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    config: GenerationConfig | None = None,
    first_row: int = 0,
) -> list[list[float]]:
    """For each of `texts` the log-probability of each of `labels` with its end, in nats: what `Model.score` gives.

    Of `config` only `batch_size` (texts that run together), `overflow` and `max_source_tokens` are used; a text is
    never split. Errors count texts from `first_row`. Raises DataError where there is no label, or a text or a label is
    too long for the model.
    """
    if not labels:
        raise DataError("there must be at least one label, but there is none.")
    most, tokenizer = model.network.max_length, model.source_tokenizer
    limit = most if config is None else source_limit(model.network, config)
    overflow = "error" if config is None or config.overflow == "split" else config.overflow
    sources = [
        prepare(text, ids, tokenizer=tokenizer, limit=limit, overflow=overflow, row=first_row + row, most=most)[0]
        for row, (text, ids) in enumerate(zip(texts, tokenizer.encode_batch(texts), strict=True))
    ]
    targets = answer_ids(labels, model.target_tokenizer, model.marks)
    for row, ids in enumerate(targets):
        check_length(ids, most, what=f"label {row + 1}")
    scores: list[list[float]] = [[] for _ in texts]
    order = sorted(range(len(texts)), key=lambda row: -len(sources[row]))
    size = (config.batch_size if config is not None else None) or max(1, MAX_HYPOTHESES // len(labels))
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        found = _scores(model, [sources[row] for row in rows], targets, window=limit)
        for row, own in zip(rows, found, strict=True):
            scores[row] = own
    return scores


def _scores(model: LabelledModel, sources: Ids, targets: Ids, *, window: int) -> list[list[float]]:
    """The scores (N, W) of sources that run together, the labels as hypotheses of each."""
    network, start = model.network, model.marks.start
    count, width, length = len(sources), len(targets), max(map(len, targets))
    labels, tokens = as_rows(targets, network.device)
    valid = tokens.valid.expand(width, -1)
    # Padding stands behind the labels and is never scored, so that all rows may share their positions.
    places = torch.arange(length, device=network.device)[None]
    begun = torch.cat([labels.new_full((width, 1), start), labels[:, :-1]], 1)
    with evaluating(network):
        source, source_tokens = as_rows(sources, network.device)
        memory = network.encode(source, source_tokens, window=window)
        state = network.begin(memory, width=width, capacity=length)
        hidden, _ = network.decode(begun.repeat(count, 1), Tokens(places), memory, state)  # (N·W, L, D)
        log_p = label_log_p(network, hidden.flatten(0, 1), labels.repeat(count, 1).flatten())
    log_p = log_p.view(count, width, length).to(sum_type(network.device))
    return log_p.masked_fill(~valid, 0)[:, :, len(model.marks.first) :].sum(2).tolist()
