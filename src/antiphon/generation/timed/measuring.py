"""What a window's answer is measured by: one pass of the network over the answer, with the answer given.

    found = measured(network, features, ids, tokens, search, start_place=0, heads=None)
    found.log_probability, found.no_speech, found.weights

Shapes: F frames, M mel bands, A heads, Q decoder inputs, S positions of the encoder.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.errors import ConfigError
from antiphon.generation.attention.maps import mixers_of
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder
from antiphon.runtime.inference import as_rows, evaluating, log_softmax
from antiphon.search.config import SearchConfig
from antiphon.search.next_token.logits_processors import DecodedTokens
from antiphon.search.next_token.scores import apply_processors
from antiphon.search.special_tokens import SpecialTokens

Heads = Sequence[tuple[int, int]]  # layers and heads of the decoder, counted from 0


@dataclass(frozen=True)
class AnswerMeasures:
    """`log_probability`: the mean of the answer's tokens, end included, among the tokens that the search allows.
    `no_speech`: the probability of the id before the one for answers without timestamps, after the start of the
    transcript. `weights` (A,Q,S) are those of cross-attention, None if they were not asked for."""

    log_probability: float
    no_speech: float
    weights: Tensor | None


def measured(
    network: EncoderDecoder,
    features: Tensor,
    ids: Sequence[int],
    tokens: SpecialTokens,
    search: SearchConfig,
    *,
    start_place: int,
    heads: Heads | None,
) -> AnswerMeasures:
    """The measures of the answer `ids` to a window of features (F,M).

    `start_place` is where the start of the transcript is in the decoder's input. ConfigError if `heads` are given for a
    network without weights of cross-attention.
    """
    assert tokens.timestamps is not None
    before = len(tokens.first)
    inputs = torch.tensor([[tokens.start, *tokens.first, *ids[:-1]]], device=network.device)
    maps: dict[object, list[Tensor]] | None = None if heads is None else {}
    with evaluating(network):
        memory = network.encode(*as_rows([features], network.device))
        places = torch.arange(inputs.shape[1], device=network.device)[None]
        hidden, _ = network.decode(inputs, Tokens(places, maps=maps), memory, None)
        logits = network.logits(hidden[0, before:])  # (tokens of the answer, V)
        first = log_softmax(network.logits(hidden[0, start_place]))
        history = torch.tensor([[*tokens.first, *ids]], device=network.device)
        log_p = _allowed_log_p(logits, history, before, search)
        weights = None if heads is None else _of_heads(network, maps or {}, heads)
    return AnswerMeasures(float(log_p), float(first[tokens.timestamps.untimed - 1].exp()), weights)


def _allowed_log_p(logits: Tensor, history: Tensor, before: int, search: SearchConfig) -> Tensor:
    """The mean log-probability of the tokens from `before` on in `history` (1, t), of logits (t - before, V)."""
    forced = torch.tensor([before], device=history.device)
    found = []
    for place in range(logits.shape[0]):
        row, length = logits[place : place + 1], before + place
        decoded = DecodedTokens(history[:, :length], forced)
        scores = apply_processors(row, log_softmax(row), decoded, lengths=length, config=search, keeps_log_p=True)
        found.append(log_softmax(scores)[0, history[0, length]])
    return torch.stack(found).mean()


def _of_heads(network: EncoderDecoder, maps: dict[object, list[Tensor]], heads: Heads) -> Tensor:
    """The recorded weights of cross-attention of `heads`, (A,Q,S)."""
    layers = [maps.get(mixer) for mixer in mixers_of(network)["cross"]]
    found = []
    for layer, head in heads:
        recorded = layers[layer]
        if not recorded:
            raise ConfigError("`timestamps` words needs weights of cross-attention, but a layer of the model has none.")
        found.append(recorded[-1][0, head])
    return torch.stack(found)


def default_heads(network: EncoderDecoder) -> Heads:
    """All heads of the upper half of the decoder's layers."""
    assert isinstance(network.decoder, Decoder)
    layers = mixers_of(network)["cross"]
    return [
        (layer, head)
        for layer in range(len(layers) // 2, len(layers))
        for head in range(int(getattr(layers[layer], "num_heads", 1)))
    ]


def compression_ratio(ids: Sequence[int], *, vocab_size: int) -> float:
    """The factor by which zlib makes the bytes of `ids` smaller, with as many bytes for each as `vocab_size` needs."""
    width = int(math.log2(vocab_size) / 8) + 1
    content = b"".join(id.to_bytes(width, "little") for id in ids)
    return len(content) / len(zlib.compress(content))


def with_previous(tokens: SpecialTokens, previous: Sequence[int], *, previous_id: int) -> SpecialTokens:
    """`tokens` for a decoder that first reads `previous_id` and the tokens `previous` of the windows before."""
    first = (*previous, tokens.start, *tokens.first)
    return replace(tokens, start=previous_id, first=first, suppress=(*tokens.suppress, tokens.start))
