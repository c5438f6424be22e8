"""A small network that is made by hand, its tokenizer and its batches."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from antiphon.batch import Batch
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, Encoder, Shape
from antiphon.nn import Sinusoidal
from antiphon.nn.embedding import Embedding
from antiphon.text import Tokenizer, train_tokenizer
from antiphon.workflows.batches import batches

PAIRS = [
    ("in 3 hours", "in 3 Stunden"),
    ("in two days", "in zwei Tagen"),
    ("yesterday", "gestern"),
    ("tomorrow at noon", "morgen Mittag"),
    ("a cat", "eine Katze"),
    ("the cat sees a dog", "die Katze sieht einen Hund"),
]


@functools.cache
def tokenizer() -> Tokenizer:
    return train_tokenizer([text for pair in PAIRS for text in pair], kind="bpe", vocab_size=300)


def one_batch(**settings: Any) -> Batch:
    """All pairs in one batch."""
    return next(iter(batches(PAIRS, tokenizer(), batch_tokens=4096, **settings)))


def by_hand(
    attentions: Sequence[object] = ("full", "full"),
    *,
    seed: int = 0,
    vocab: int | None = None,
    tied: bool = True,
    dropout: float = 0.0,
    max_length: int = 64,
    shape: Shape | None = None,
    positions: Any = Sinusoidal,
    scale: float | None = None,
    **network: Any,
) -> EncoderDecoder:
    """As a tutorial writes it: one table for both sides, and for the output unless it is not `tied`."""
    torch.manual_seed(seed)
    shape = shape or Shape(d_model=16, num_heads=2, ffn_dim=32, dropout=dropout)
    vocab = vocab or tokenizer().vocab_size
    encoder = Encoder(list(attentions), shape=shape)
    decoder = Decoder(list(attentions), ["full"] * len(attentions), shape=shape)
    table = Embedding(vocab, shape.d_model)
    output = None if tied else Embedding(vocab, shape.d_model)
    source = InputEmbedding(table, positions(shape.d_model), dropout=shape.dropout, scale=scale)
    target = InputEmbedding(table, positions(shape.d_model), dropout=shape.dropout, scale=scale)
    return EncoderDecoder(source, encoder, target, decoder, output, max_length=max_length, **network)


def train(network: torch.nn.Module, batch: Batch, *, steps: int = 3, lr: float = 1e-2) -> list[float]:
    """The losses of a loop of one's own."""
    optimizer, losses = torch.optim.Adam(network.parameters(), lr=lr), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = network(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses
