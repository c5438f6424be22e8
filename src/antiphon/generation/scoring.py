"""Scores of given targets: their log-probabilities under the model, by forced decoding."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

from antiphon.config import GenerationConfig
from antiphon.errors import DataError
from antiphon.generation.languages import as_answer
from antiphon.generation.prompting import grouped, special_tokens_of
from antiphon.generation.protocols import AnsweringModel
from antiphon.inputs.limits import source_limit
from antiphon.search import engine
from antiphon.search.length_checks import check_length
from antiphon.search.requests import SourceInput
from antiphon.search.special_tokens import SpecialTokens
from antiphon.text import Tokenizer


def scores_of(
    model: AnsweringModel,
    sources: Sequence[Any],
    targets: Sequence[str],
    *,
    config: GenerationConfig,
    prompts: Sequence[tuple[int, ...]] = (),
) -> list[float]:
    """For each pair the sum of the log-probabilities of the target's tokens and its end, in nats.

    `sources` are rows of the model's input kind, which are not split. `prompts`: the ids before each target. DataError
    for a side that is too long.
    """
    check_pairs(sources, targets)
    network, kind, tokens = model.network, model.input_kind, model.special_tokens
    limit = source_limit(network, config)
    ids = _target_ids(targets, model.target_tokenizer, tokens, most=network.max_length)
    read = kind.whole(sources, network=network, config=config)
    asked = [SourceInput(source, row, prompt=prompts[row] if prompts else ()) for row, source in enumerate(read)]
    each = special_tokens_of(kind, network, asked, tokens)
    for row, (own, source) in enumerate(zip(each, asked, strict=True)):
        if source.prompt:  # before the forced first tokens' own answer
            ids[row] = [*own.first, *tokens.without_first(ids[row])]
    # `generate` answers an empty source with an empty answer, without running the model.
    has_text = [len(own) > 1 if tokens.prompt else bool(text) for own, text in zip(ids, targets, strict=True)]
    empty = [kind.is_empty(source) and not text for source, text in zip(sources, has_text, strict=True)]
    scores = [0.0] * len(read)
    for own, places in grouped(each):
        scored = [place for place in places if not empty[place]]
        pairs = [(read[place], ids[place]) for place in scored]
        for place, score in zip(scored, engine.forced_scores(network, pairs, own, window=limit), strict=True):
            scores[place] = score
    return scores


def _target_ids(texts: Sequence[str], tokenizer: Tokenizer, tokens: SpecialTokens, *, most: int) -> list[list[int]]:
    """The ids of targets, including the end token, without a prompt, which differs between sources."""
    encoded = tokenizer.encode_batch(texts)
    found = encoded if tokens.prompt else [as_answer(ids, tokenizer, tokens) for ids in encoded]
    for row, ids in enumerate(found):
        check_length(ids, most, what=f"target {row + 1}")
    return [[*tokenizer.visible(ids), tokens.end] for ids in encoded] if tokens.prompt else found


def check_pairs(sources: Sized, targets: Sized) -> None:
    """DataError if there are not as many targets as sources."""
    if len(sources) != len(targets):
        counts = f"{len(sources)} sources and {len(targets)} targets"
        raise DataError(f"there must be one target for each source, but there are {counts}.")
