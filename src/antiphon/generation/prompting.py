"""Answers that begin with a prompt: each source has special tokens of its own.

    each = special_tokens_of(kind, network, sources, tokens)

Whisper's prompt contains the language of a recording (Radford et al. 2022, section 2.3). If it is not given, it is the
language whose token is the most probable one after the start token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from antiphon.batch import Tokens
from antiphon.inputs import InputKind
from antiphon.inputs.kind import Source
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.runtime.inference import as_rows, evaluating
from antiphon.search.requests import SourceInput
from antiphon.search.special_tokens import SpecialTokens

_BATCH_SIZE = 16  # sources whose prompts are chosen together


def special_tokens_of(
    kind: InputKind[Any], network: EncoderDecoder, sources: Sequence[SourceInput], tokens: SpecialTokens
) -> list[SpecialTokens]:
    """The special tokens of each source: `tokens` with the prompt that the model chooses. The parts of a row share the
    prompt of the first part. The prompt of a source itself follows."""
    each = _chosen(kind, network, sources, tokens)
    return [
        replace(own, first=(*own.first, *source.prompt), prompt=True) if source.prompt else own
        for own, source in zip(each, sources, strict=True)
    ]


def _chosen(
    kind: InputKind[Any], network: EncoderDecoder, sources: Sequence[SourceInput], tokens: SpecialTokens
) -> list[SpecialTokens]:
    choices = kind.prompt_choices
    if not choices:
        return [tokens] * len(sources)
    firsts = {source.row: source.ids for source in reversed(sources)}  # the first part of each row
    chosen = dict(zip(firsts, _choose(network, list(firsts.values()), choices, tokens.start), strict=True))
    return [replace(tokens, first=kind.prompt(chosen[source.row]) or ()) for source in sources]


def grouped(each: Sequence[SpecialTokens]) -> Iterator[tuple[SpecialTokens, list[int]]]:
    """The distinct entries of `each`, with their indices."""
    for tokens in dict.fromkeys(each):
        yield tokens, [place for place, other in enumerate(each) if other == tokens]


def _choose(network: EncoderDecoder, rows: Sequence[Source], choices: Sequence[int], start: int) -> list[int]:
    """For each of `rows` the id of `choices` that is the most probable one after `start`; the lowest of equally
    probable ones."""
    ids = torch.tensor(sorted(choices), device=network.device)
    found: list[int] = []
    with evaluating(network):
        for first in range(0, len(rows), _BATCH_SIZE):
            memory = network.encode(*as_rows(rows[first : first + _BATCH_SIZE], network.device))
            begun = ids.new_full((memory.hidden.shape[0], 1), start)
            hidden, _ = network.decode(begun, Tokens(torch.zeros_like(begun[:1])), memory, None)
            found += ids[network.logits(hidden[:, -1])[:, ids].argmax(1)].tolist()
    return found
