"""The parts of a network as functions of tensors alone, which an exporter can trace.

A part calls the network's own `encode`, `begin` and `decode`; only the decoding state is another: `PastCache`
concatenates where our caches write in place, so that a step is a function of past and new tokens. There is no second
definition of the model.

Shapes: B rows, S source and L target positions, P past target tokens, G key heads, K head width, D features, V ids.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.cache import KeyValueCache
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState, MemoryState, State

# How transformers, optimum and transformers.js call the tensors of a cache.
LEAF_NAMES = {"k": "key", "v": "value"}


class PastCache(KeyValueCache):
    """Keys and values (B,G,P,K) of the past, to which `update` concatenates new ones.

    `keys` are the tokens of past and new keys. All caches of a step share them, so that layers share masks and biases.
    """

    def __init__(self, past: dict[str, Tensor], keys: Tokens) -> None:
        State.__init__(self, hypothesis=past)
        self.keys = keys

    def update(self, k: Tensor, v: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tokens]:
        for name, new in (("k", k), ("v", v)):
            self.hypothesis[name] = torch.cat([self.hypothesis[name], new], dim=2)
        return self.hypothesis["k"], self.hypothesis["v"], self.keys


def tokens_of_mask(mask: Tensor) -> Tokens:
    """The tokens of rows with an attention mask (B,S), 1 at tokens and 0 at padding, on either side."""
    seen = mask.to(torch.long)
    return Tokens(torch.where(seen > 0, seen.cumsum(1) - 1, -1))


class EncoderPart(nn.Module):
    """Source ids (B,S) and their mask (B,S) to the memory (B,S,D), zero at padding."""

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        network = self.network
        return network.encoder(*network.source(input_ids, tokens_of_mask(attention_mask))).hidden


class SourceKeys(nn.Module):
    """The memory (B,S,D) and its mask (B,S) to what each decoder layer stores of it, its keys and values."""

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, encoder_hidden_states: Tensor, encoder_attention_mask: Tensor) -> tuple[Tensor, ...]:
        memory = Memory(encoder_hidden_states, tokens_of_mask(encoder_attention_mask))
        layers: Any = self.network.decoder.layers
        states = [layer.cross.begin(encoder_hidden_states.shape[0], 0, memory) for layer in layers]
        return tuple(leaf for state in states for leaf in state.source.values())


class Step(nn.Module):
    """The next ids (B,L), the source's mask (B,S), the keys and values of the P past tokens of each layer, and the
    results of `SourceKeys`, whose names of each layer are `cross_names`, to the logits (B,L,V) and the keys and values
    of all P + L tokens of each layer."""

    def __init__(self, network: EncoderDecoder, cross_names: list[list[str]]) -> None:
        super().__init__()
        self.network = network
        self.cross_names = cross_names

    def forward(self, input_ids: Tensor, encoder_attention_mask: Tensor, *stored: Tensor) -> tuple[Tensor, ...]:
        given, memory_tokens = iter(stored), tokens_of_mask(encoder_attention_mask)
        own = [{name: next(given) for name in ("k", "v")} for _ in self.cross_names]
        past = own[0]["k"].shape[2]
        keys = Tokens(torch.arange(past + input_ids.shape[1], device=input_ids.device)[None])
        layers: list[tuple[State, State]] = [
            (PastCache(mine, keys), MemoryState(memory_tokens, **{name: next(given) for name in names}))
            for mine, names in zip(own, self.cross_names, strict=True)
        ]
        state = DecoderState(layers, width=1)
        network = self.network
        x, tokens = network.target(input_ids, Tokens(keys.pos[:, past:]))
        hidden, _ = network.decoder(x, tokens, None, state)  # type: ignore[arg-type]  # `state` has the memory
        return network.logits(hidden), *(leaf for mine, _ in layers for leaf in mine.hypothesis.values())
