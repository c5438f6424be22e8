"""The encoder-decoder Transformer (Vaswani et al. 2017): `encode`, `decode`, `logits`, and `forward`, which trains.

    memory = network.encode(source, source_tokens)
    hidden, _ = network.decode(target_ids, target_tokens, memory)           # whole rows at once
    log_probabilities = network.logits(hidden).log_softmax(-1)

Decoding state is outside (`begin`). Shapes: N sources, W hypotheses of each, S source and L target positions, D
features, V ids.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, overload

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Batch, Tokens
from antiphon.errors import ConfigError, DataError
from antiphon.inputs.embeddings import SourceEmbedding
from antiphon.models.footprint import check_fits
from antiphon.models.front import InputEmbedding
from antiphon.models.parts import MAX_PART_TOKENS, MAX_PART_TOKENS_GPU, encode_in_parts
from antiphon.models.stack import Decoder, Encoder
from antiphon.models.windows import encode_in_windows
from antiphon.nn.ctc import CTCFrames, CTCHead, JointCTC
from antiphon.nn.embedding import scale_if_new
from antiphon.nn.layers import capped, initialize
from antiphon.nn.loss import CrossEntropy, FusedCriterion, LossSum
from antiphon.nn.mixers import Memory
from antiphon.nn.noise import Noise, number_sites, share_noise
from antiphon.nn.state import DecoderState
from antiphon.settings import show

Criterion = Callable[[Tensor, Tensor], Tensor]  # (logits, labels) to a number, as torch's losses


class EncoderDecoder(nn.Module):
    """An encoder-decoder network: input embeddings, encoder, decoder and output table.

        loss = network(batch)                   # the mean cross-entropy of a target token, in nats
        loss.backward()

    `output` (V, D) is the output table; None: that of the target, tied embeddings (Press and Wolf 2017). The decoder's
    output is multiplied by `output_scale` before it. `output_bias` adds a fixed bias (V,) to the logits, as in some
    published checkpoints, `learned_output_bias` a trained one; `output_cap` bounds the logits (see `capped`). `ctc`: a
    CTC head on the encoder's output (`antiphon.nn.ctc`), which a `JointCTC` trains. `max_length` limits the positions
    of either side; sources of features are limited by their embedding. Longer sources than `source_window` (None:
    `max_length`) are encoded in windows. `noise` is the key of all dropout.

    Raises ConfigError for parts of different widths.
    """

    output_bias: Tensor | None

    source_window: int | None = None
    frozen = False  # whether the weights are frozen: true for a loaded model until it is trained

    def __init__(
        self,
        source: SourceEmbedding,
        encoder: Encoder,
        target: InputEmbedding,
        decoder: Decoder,
        output: nn.Embedding | None = None,
        *,
        max_length: int = 1024,
        noise: Noise | None = None,
        output_scale: float = 1.0,
        output_bias: bool = False,
        learned_output_bias: bool = False,
        output_cap: float | None = None,
        ctc: bool = False,
    ) -> None:
        super().__init__()
        check_kinds(source, encoder, target, decoder, output)
        output = target.table if output is None else output
        check_widths(source, encoder, target, decoder, output)
        scale_if_new(output)
        self.source, self.encoder = source, encoder
        self.target, self.decoder = target, decoder
        self.output, self.max_length, self.noise = output, max_length, noise or Noise()
        self.output_scale, self.output_cap = output_scale, output_cap
        self.head: nn.Module | None = None  # replaces the output table in a quantized network
        if learned_output_bias:
            self.output_bias = nn.Parameter(torch.zeros(output.num_embeddings))
        else:
            self.register_buffer("output_bias", torch.zeros(output.num_embeddings) if output_bias else None)
        self.ctc = CTCHead(encoder.memory_width, output.num_embeddings) if ctc else None
        if self.ctc is not None:
            initialize(self.ctc.linear)
        share_noise(self, self.noise)
        number_sites(self)

    @property
    def vocab_size(self) -> int:
        """V, the number of ids that the output scores."""
        return self.output.weight.shape[0]

    @property
    def table_sizes(self) -> tuple[int, int]:
        """The sizes of the source's and the target's table; twice that of the target if sources are features."""
        source, target = self.source.vocab_size, self.target.vocab_size
        return target if source is None else source, target

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output.weight.device

    def train(self, mode: bool = True) -> Self:
        """As `torch.nn.Module.train`; in training mode the weights are no longer frozen."""
        self.frozen = self.frozen and not mode
        return super().train(mode)

    def checkpoint_activations(self, on: bool) -> None:
        """Switch activation checkpointing on or off: training recomputes each layer for its gradient."""
        self.encoder.checkpoint = self.decoder.checkpoint = on

    def encode(self, source: Tensor, tokens: Tokens, *, window: int | None = None) -> Memory:
        """Encode source ids (N, S), or features (N, F, M), to the memory of the decoder. Rows of more than `window` ids
        (None: `source_window`, else `max_length`) are encoded in windows."""
        if self.training:
            self.noise.advance()
        longest = min(window or self.source_window or self.max_length, self.max_length)
        answering = not (torch.is_grad_enabled() or self.training) and tokens.maps is None
        if source.dim() == 2 and source.shape[1] > longest:
            most = None if not answering else MAX_PART_TOKENS if source.device.type == "cpu" else MAX_PART_TOKENS_GPU
            noise = self.noise if self.training else None
            return encode_in_windows(self._encode, source, tokens, longest=longest, at_once=most, noise=noise)
        if answering and source.dim() == 2 and source.device.type == "cpu" and source.numel() > MAX_PART_TOKENS:
            return encode_in_parts(self._encode, source, tokens)
        return self._encode(source, tokens)

    def _encode(self, source: Tensor, tokens: Tokens) -> Memory:
        if source.dim() == 2 and not torch.compiler.is_compiling():
            check_fits(self.encoder, length=source.shape[1], device=source.device)
        return self.encoder(*self.source(source, tokens))

    def begin(self, memory: Memory, *, width: int, capacity: int) -> DecoderState:
        """The state before the first token of `width` hypotheses a memory row, with space for `capacity` tokens."""
        return self.decoder.begin(memory, width=width, capacity=capacity)

    def decode(
        self, target_ids: Tensor, tokens: Tokens, memory: Memory, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState | None]:
        """Decode target_ids (N·W, L), which continue those in `state`, to hidden vectors (N·W, L, D) and the new state.

        Without a state the rows are whole targets, one for each row of the memory.
        """
        x, tokens = self.target(target_ids, tokens)
        return self.decoder(x, tokens, memory, state)

    def logits(self, hidden: Tensor | Batch) -> Tensor:
        """The logits (…, V) of the next id, from hidden vectors (…, D); for a batch, the logits (B, T, V) of all its
        positions."""
        if isinstance(hidden, Batch):
            hidden = self._hidden(hidden, self.encode(hidden.source, hidden.source_tokens))
        hidden = self.scaled(hidden)
        if self.head is not None:
            found = self.head(hidden)
        else:
            found = functional.linear(hidden, self.output.weight, self.output_bias)
        return found if self.output_cap is None else capped(found, self.output_cap)

    def scaled(self, hidden: Tensor) -> Tensor:
        """Hidden vectors multiplied by `output_scale`, the input of the output table."""
        return hidden if self.output_scale == 1 else hidden * self.output_scale

    def frames(self, memory: Memory) -> CTCFrames:
        """The CTC head's log-probabilities of the frames of `memory`. ConfigError for a network without the head."""
        if self.ctc is None:
            raise ConfigError("CTC needs a network with a head for it, but this one has none. Set `model.ctc: true`.")
        return self.ctc(memory.hidden, memory.tokens)

    @overload
    def forward(self, batch: Batch, criterion: Criterion | None = None) -> Tensor: ...
    @overload
    def forward(self, batch: Batch, criterion: FusedCriterion) -> LossSum: ...
    def forward(self, batch: Batch, criterion: Criterion | FusedCriterion | None = None) -> Tensor | LossSum:
        """The loss of a batch over the n positions with a label, by default the mean cross-entropy of a token, in nats.

        `criterion(logits, labels)`, with logits (n, V) and labels (n,), may be any loss of PyTorch that returns one
        number. A `FusedCriterion` gets hidden (n, D), the output table (V, D) and labels, and computes the logits in
        chunks, as the default does. A `JointCTC` also reads the CTC head.

        Raises DataError for an id that an embedding does not have (on a CPU, without a `FusedCriterion`; on a GPU
        PyTorch reports it), ConfigError for a criterion that does not return a single number.
        """
        check_criterion(criterion.criterion if isinstance(criterion, JointCTC) else criterion)
        fused = isinstance(criterion, FusedCriterion)
        if not fused and batch.labels.device.type == "cpu" and not torch.compiler.is_compiling():
            self._check_ids(batch)  # not on a GPU, where it would synchronize
        memory = self.encode(batch.source, batch.source_tokens)
        hidden, labels = self._labelled(self._hidden(batch, memory), batch)
        if criterion is None:
            return self._fused(CrossEntropy(), hidden, labels).objective / max(1, labels.numel())
        if isinstance(criterion, JointCTC):
            return criterion.join(self._fused(criterion.criterion, hidden, labels), self.frames(memory), batch)
        if isinstance(criterion, FusedCriterion):
            return self._fused(criterion, hidden, labels)
        return _one_number(criterion(self.logits(hidden), labels))

    def _check_ids(self, batch: Batch) -> None:
        """DataError for an id that the tables do not have."""
        source, target = self.table_sizes
        sides = [
            ("the source ids", batch.source, source),
            ("the target ids", batch.target_ids, target),
            ("the labels", batch.labels.where(batch.label_mask, 0), self.vocab_size),
        ]
        for what, ids, size in sides:
            if ids.is_floating_point() or not ids.numel():
                continue
            least, largest = (int(end) for end in ids.aminmax())
            if least < 0 or largest >= size:
                raise DataError(
                    f"{what} of a batch must be from 0 to {size - 1}, as the table has {size} rows, but one is "
                    f"{least if least < 0 else largest}. Encode with the tokenizer that the network was made for."
                )

    def _hidden(self, batch: Batch, memory: Memory) -> Tensor:
        """The decoder's output for whole rows, (B, T, D)."""
        return self.decode(batch.target_ids, batch.target_tokens, memory, None)[0]

    def _labelled(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The hidden vectors (n, D) and the labels (n,) of the positions with a label."""
        places = batch.label_places
        return hidden.flatten(0, 1).index_select(0, places), batch.labels.flatten().index_select(0, places)

    def _fused(self, criterion: Any, hidden: Tensor, labels: Tensor) -> LossSum:
        """The result of a `FusedCriterion` for hidden vectors (n, D)."""
        hidden, weight = self.scaled(hidden), self.output.weight
        if self.output_bias is not None:
            # A criterion has no bias: it becomes the weight of one more feature, which is always 1.
            hidden = torch.cat([hidden, hidden.new_ones(hidden.shape[0], 1)], 1)
            weight = torch.cat([weight, self.output_bias[:, None].to(weight.dtype)], 1)
        if self.output_cap is None:
            return criterion(hidden, weight, labels)
        return criterion(hidden, weight, labels, cap=self.output_cap)


def check_criterion(criterion: object) -> None:
    """ConfigError unless `criterion` can be called with logits and labels."""
    if isinstance(criterion, type):
        name = criterion.__name__
        raise ConfigError(f"`criterion` must be an object, but is the class {name}. Give {name}().")
    if criterion is not None and not callable(criterion):
        raise ConfigError(
            f"`criterion` must be a function of logits and labels, but is {show(criterion)}. Give a loss of PyTorch, "
            "for example torch.nn.CrossEntropyLoss()."
        )


def _one_number(loss: object) -> Tensor:
    """`loss`; ConfigError unless it is a tensor of one number."""
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss
    gave = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
    remedy = 'Take its mean, for example by reduction="mean".' if isinstance(loss, Tensor) else "Return the tensor."
    raise ConfigError(f"a criterion must give one number as a tensor, but gave {gave}. {remedy}")


def check_kinds(source: object, encoder: object, target: object, decoder: object, output: object) -> None:
    """ConfigError for parts in the wrong order or of another type."""
    kinds: list[tuple[str, object, tuple[type, ...]]] = [
        ("source", source, (InputEmbedding, SourceEmbedding)),
        ("encoder", encoder, (Encoder,)),
        ("target", target, (InputEmbedding,)),
        ("decoder", decoder, (Decoder,)),
        ("output", output, (nn.Embedding, type(None))),
    ]
    for what, part, wanted in kinds:
        if not isinstance(part, wanted):
            name = wanted[0].__name__
            raise ConfigError(
                f"`{what}` must be {'an' if name[0] in 'AEIOU' else 'a'} {name}, but is a {type(part).__name__}. Give "
                "source, encoder, target, decoder and output in this order."
            )


def check_widths(
    source: SourceEmbedding,
    encoder: Encoder,
    target: InputEmbedding,
    decoder: Decoder,
    output: nn.Embedding,
) -> None:
    """ConfigError for parts that do not fit together, with both widths."""
    pairs = [
        ("source", source.d_model, "the encoder", encoder.shape.d_model),
        ("target", target.d_model, "the decoder", decoder.shape.d_model),
        ("output", output.embedding_dim, "the decoder", decoder.shape.d_model),
        ("decoder's cross-attention", decoder.memory_width, "the encoder", encoder.memory_width),
    ]
    for what, width, other, wanted in pairs:
        if width != wanted:
            raise ConfigError(
                f"the {what} must have the width of {other} ({wanted}), but has {width}. Make both parts with one "
                "`d_model`."
            )
    for what, front in (("source", source), ("target", target)):
        width = getattr(front.positions, "dim", front.d_model)
        if width != front.d_model:
            raise ConfigError(
                f"the positions of the {what} must have the width of its embeddings, {front.d_model}, but have {width}."
            )
    if output.num_embeddings != target.table.num_embeddings:
        raise ConfigError(
            f"the output must score the ids of the target's table, {target.table.num_embeddings}, but has "
            f"{output.num_embeddings} rows."
        )
