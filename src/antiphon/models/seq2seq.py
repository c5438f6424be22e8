"""The encoder-decoder Transformer (Vaswani et al. 2017): `encode`, `decode`, `logits`, and `forward`, which trains.

    memory = network.encode(source, source_tokens)
    hidden, _ = network.decode(target_ids, target_tokens, memory, None)     # whole rows at once
    log_probabilities = network.logits(hidden).log_softmax(-1)

Decoding state is outside (`begin`). Shapes: N sources, W hypotheses of each, S source and L target positions, D
features, V ids.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Batch, Tokens
from antiphon.errors import DataError
from antiphon.models.parts import AT_ONCE, encode_in_parts
from antiphon.models.stack import Decoder, Encoder
from antiphon.models.windows import encode_in_windows
from antiphon.nn.cache import DecoderState
from antiphon.nn.convolutions import Convolutions
from antiphon.nn.layers import capped, zero_padding
from antiphon.nn.mixers import Memory
from antiphon.nn.noise import Dropout, Noise, WordDropout, number_sites

Loss = TypeVar("Loss")
Criterion = Callable[..., Loss]  # (hidden, weight, labels), and `cap` where the logits are capped


class Front(nn.Module):
    """Ids to what a stack reads: token vectors times `scale`, some of them dropped, positions added, a `norm` where
    there is one, dropout, zero at padding. `rounds`: the scale is first rounded to the type of the vectors."""

    def __init__(
        self,
        table: nn.Embedding,
        positions: nn.Module,
        *,
        scale: float,
        rounds: bool = False,
        dropout: float,
        noise: Noise,
        word_dropout: float = 0.0,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.table, self.positions, self.scale, self.rounds = table, positions, scale, rounds
        self.norm = nn.Identity() if norm is None else norm
        self.words = WordDropout(word_dropout, noise) if word_dropout else nn.Identity()
        self.drop = Dropout(dropout, noise)

    def forward(self, ids: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """ids (B, L) -> (B, L, D), and its tokens."""
        vectors = self.table(ids)
        x = self.words(vectors * (vectors.new_full((), self.scale) if self.rounds else self.scale))
        x = self.drop(self.norm(self.positions(x, tokens.pos)))
        return zero_padding(x, tokens.valid), tokens


class FeatureFront(nn.Module):
    """Frames of features to what an encoder reads: convolutions, positions added, dropout, zero at padding."""

    def __init__(
        self, convolutions: Convolutions, positions: nn.Module, *, most: int, dropout: float, noise: Noise
    ) -> None:
        super().__init__()
        self.convolutions, self.positions, self.most = convolutions, positions, most
        self.drop = Dropout(dropout, noise)

    def forward(self, features: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """features (B, F, M) -> (B, S, D), and its tokens, which are fewer; DataError for more than `most` frames."""
        if features.shape[1] > self.most:
            raise DataError(f"a clip must have at most {self.most} frames, but has {features.shape[1]}. Cut it.")
        x, tokens = self.convolutions(features.to(self.convolutions.dtype), tokens)
        return zero_padding(self.drop(self.positions(x, tokens.pos)), tokens.valid), tokens


class EncoderDecoder(nn.Module):
    """An encoder, a decoder, and what stands before and behind them.

    `output` is (V, D), the table that scores ids; with tied embeddings it is the target's own (Press and Wolf 2017).
    The decoder's output is multiplied with `output_scale` before, and `output_bias` adds a fixed bias (V,) to the
    logits, as some published checkpoints have them; `output_cap` bounds the logits as `capped` says. `max_length`
    bounds the positions of either side, of a source of features its front.
    """

    output_bias: Tensor | None

    settled = False  # whether the weights stay as they are: those of a loaded model do, until it is trained

    def __init__(
        self,
        source: Front | FeatureFront,
        encoder: Encoder,
        target: Front,
        decoder: Decoder,
        output: nn.Embedding,
        *,
        max_length: int,
        noise: Noise,
        output_scale: float = 1.0,
        output_bias: bool = False,
        output_cap: float | None = None,
    ) -> None:
        super().__init__()
        self.source, self.encoder = source, encoder
        self.target, self.decoder = target, decoder
        self.output, self.max_length, self.noise = output, max_length, noise
        self.output_scale, self.output_cap = output_scale, output_cap
        self.head: nn.Module | None = None  # takes the place of the output table, in a quantized network
        self.register_buffer("output_bias", torch.zeros(output.num_embeddings) if output_bias else None)
        number_sites(self)

    @property
    def vocab_size(self) -> int:
        """V, the ids that the output scores."""
        return self.output.weight.shape[0]

    @property
    def table_sizes(self) -> tuple[int, int]:
        """The ids of the source's table and of the target's; the target's alone where sources are features."""
        target = self.target.table.num_embeddings
        return self.source.table.num_embeddings if isinstance(self.source, Front) else target, target

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output.weight.device

    def train(self, mode: bool = True) -> Self:
        """As every module; what is trained is not settled."""
        self.settled = self.settled and not mode
        return super().train(mode)

    def checkpoint_activations(self, on: bool) -> None:
        """Whether training computes each layer again for its gradient, instead of keeping what it computed."""
        self.encoder.checkpoint = self.decoder.checkpoint = on

    def encode(self, source: Tensor, tokens: Tokens) -> Memory:
        """source ids (N, S), or features (N, F, M), to the memory that the decoder attends to; rows of more than
        `max_length` ids are read in windows."""
        if isinstance(self.source, Front) and source.shape[1] > self.max_length:
            return encode_in_windows(self._encode, source, tokens, longest=self.max_length)
        answering = not (torch.is_grad_enabled() or self.training) and tokens.maps is None
        if answering and source.dim() == 2 and source.device.type == "cpu" and source.numel() > AT_ONCE:
            return encode_in_parts(self._encode, source, tokens)
        return self._encode(source, tokens)

    def _encode(self, source: Tensor, tokens: Tokens) -> Memory:
        return self.encoder(*self.source(source, tokens))

    def begin(self, memory: Memory, *, width: int, capacity: int) -> DecoderState:
        """The state before the first token of `width` hypotheses a memory row, with room for `capacity` tokens."""
        return self.decoder.begin(memory, width=width, capacity=capacity)

    def decode(
        self, target_ids: Tensor, tokens: Tokens, memory: Memory, state: DecoderState | None
    ) -> tuple[Tensor, DecoderState | None]:
        """target_ids (N·W, L), which follow what `state` has seen, to their hidden vectors (N·W, L, D) and the state
        after them.

        Without a state the rows are whole, one for each row of the memory.
        """
        x, tokens = self.target(target_ids, tokens)
        return self.decoder(x, tokens, memory, state)

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) -> (…, V): what softmax turns into the probabilities of the next id."""
        hidden = self.scaled(hidden)
        if self.head is not None:
            found = self.head(hidden)
        else:
            found = functional.linear(hidden, self.output.weight, self.output_bias)
        return found if self.output_cap is None else capped(found, self.output_cap)

    def scaled(self, hidden: Tensor) -> Tensor:
        """What meets the output table."""
        return hidden if self.output_scale == 1 else hidden * self.output_scale

    def forward(self, batch: Batch, criterion: Criterion[Loss]) -> Loss:
        """`criterion(hidden, weight, labels)` over the places that have a label: hidden (n, D), weight (V, D), labels
        (n,). Where the logits are capped it is told so, by `cap`, a number.

        The logits never exist as a whole: the criterion chooses how much of them it makes at a time.
        """
        memory = self.encode(batch.source, batch.source_tokens)
        hidden, _ = self.decode(batch.target_ids, batch.target_tokens, memory, None)
        hidden, weight = self.scaled(hidden.flatten(0, 1).index_select(0, batch.label_places)), self.output.weight
        if self.output_bias is not None:
            # One more feature, which is 1 everywhere: a criterion knows of no bias.
            hidden = torch.cat([hidden, hidden.new_ones(hidden.shape[0], 1)], 1)
            weight = torch.cat([weight, self.output_bias[:, None].to(weight.dtype)], 1)
        labels = batch.labels.flatten().index_select(0, batch.label_places)
        if self.output_cap is None:
            return criterion(hidden, weight, labels)
        return criterion(hidden, weight, labels, cap=self.output_cap)
