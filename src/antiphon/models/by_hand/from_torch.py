"""Converts PyTorch's Transformer modules, with their weights, to networks with equal outputs and gradients.

    network = from_torch(transformer, source=embedding, output=generator)     # an EncoderDecoder
    encoder, decoder = from_torch(transformer)                                # the stacks alone
    encoder = from_torch(torch.nn.TransformerEncoder(layer, 6))

The outputs are those of PyTorch's layers with a causal mask in the decoder and padding masks, except at padding. The
converted networks have caches for decoding, and can be searched, saved and trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from torch import Tensor, nn

from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import ConfigError
from antiphon.models.build import build_network
from antiphon.models.by_hand.torch_layers import check_plain, read_stack
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, Encoder, Shape
from antiphon.nn.attention import Attention
from antiphon.nn.noise import Noise, number_sites
from antiphon.nn.rules import Full

Part = TypeVar("Part", bound=nn.Module)
POSITIONS = ("sinusoidal", "none")
_ENCODERS = nn.TransformerEncoder | nn.TransformerEncoderLayer
_DECODERS = nn.TransformerDecoder | nn.TransformerDecoderLayer


@overload
def from_torch(module: nn.Transformer) -> tuple[Encoder, Decoder]: ...
@overload
def from_torch(module: nn.TransformerEncoder | nn.TransformerEncoderLayer) -> Encoder: ...
@overload
def from_torch(module: nn.TransformerDecoder | nn.TransformerDecoderLayer) -> Decoder: ...
@overload
def from_torch(
    module: nn.Transformer,
    *,
    source: nn.Embedding,
    target: nn.Embedding | None = None,
    output: nn.Linear | nn.Embedding | None = None,
    positions: str | nn.Embedding | tuple[nn.Embedding, nn.Embedding] = "sinusoidal",
    embedding_scale: float | None = None,
    max_length: int | None = None,
) -> EncoderDecoder: ...
def from_torch(
    module: nn.Module,
    *,
    source: nn.Embedding | None = None,
    target: nn.Embedding | None = None,
    output: nn.Linear | nn.Embedding | None = None,
    positions: str | nn.Embedding | tuple[nn.Embedding, nn.Embedding] = "sinusoidal",
    embedding_scale: float | None = None,
    max_length: int | None = None,
) -> Encoder | Decoder | tuple[Encoder, Decoder] | EncoderDecoder:
    """Convert a `torch.nn.Transformer`, its encoder or decoder, or one layer. The weights are copied.

    Without embeddings: an `Encoder`, a `Decoder`, or both. With `source`, the table of source ids, a whole
    `EncoderDecoder`; `target` (default: `source`, one table for both) is the table of target ids, and `output`
    (default: tied to `target`) what scores them, an `nn.Linear` (d_model, V) with or without a bias, or an
    `nn.Embedding`.
    `positions` are those that are added to the token vectors: `sinusoidal` (as in the paper, sine and cosine in turn),
    `none`, or a learned table (a pair for source and target); `embedding_scale` is the factor of the token vectors
    before that (None: sqrt(d_model), as in the paper; 1.0 if there is none). `max_length` bounds either side (None: the
    rows of a learned table, or 1024).

    Type, device and mode are those of the module. Dropout is that of its layers, also on the embeddings. Norms have a
    bias, zero where PyTorch's have none. Raises ConfigError for what is not supported: an activation
    other than relu, gelu or silu, `bias_k`, `add_zero_attn`, layers that differ, an overridden forward.
    """
    whole = isinstance(module, nn.Transformer)
    if not isinstance(module, nn.Transformer | _ENCODERS | _DECODERS):
        raise ConfigError(
            "`module` must be a torch.nn.Transformer, TransformerEncoder, TransformerDecoder or a layer of these, but "
            f"is {type(module).__name__}. A torch.nn.MultiheadAttention is an attention: give it as one."
        )
    check_plain(module)
    if source is None:
        given = {"target": target, "output": output, "embedding_scale": embedding_scale, "max_length": max_length}
        for name in (name for name, value in given.items() if value is not None):
            raise ConfigError(f"`{name}` goes with `source`, the table of source ids, which is not given. Give it.")
        if whole:
            return _stacks(module)
        return _encoder(module, Noise()) if isinstance(module, _ENCODERS) else _decoder(module, Noise())
    if not isinstance(module, nn.Transformer):
        raise ConfigError(
            f"embeddings go with a whole torch.nn.Transformer, but `module` is a {type(module).__name__}. Leave them "
            "out."
        )
    tables = _Tables(source, target, output, positions)
    return _network(module, tables, embedding_scale=embedding_scale, max_length=max_length)


def _encoder(module: nn.Module, noise: Noise) -> Encoder:
    """An `Encoder` with the weights of `module`."""
    shape, layers, weights = read_stack(module)
    rule = Full()  # one object, so that the layers share its mask
    return _filled(Encoder([Attention(rule) for _ in range(layers)], shape=shape, noise=noise), weights, module)


def _decoder(module: nn.Module, noise: Noise) -> Decoder:
    """A `Decoder` with the weights of `module`."""
    shape, layers, weights = read_stack(module)
    own, across = Full(), Full()
    mixers = [[Attention(rule) for _ in range(layers)] for rule in (own, across)]
    return _filled(Decoder(*mixers, shape=shape, noise=noise), weights, module)


def _stacks(module: nn.Transformer) -> tuple[Encoder, Decoder]:
    noise = Noise()
    encoder, decoder = _encoder(module.encoder, noise), _decoder(module.decoder, noise)
    number_sites(nn.ModuleList([encoder, decoder]))
    return encoder, decoder


def _filled(part: Part, weights: dict[str, Tensor], module: nn.Module) -> Part:
    """`part` with these weights, in the type, on the device and in the mode of `module`."""
    like = next(module.parameters())
    part.to(device=like.device, dtype=like.dtype)
    part.load_state_dict({name: weight.detach() for name, weight in weights.items()})
    for name, parameter in part.named_parameters():
        parameter.requires_grad_(weights[name].requires_grad)
    number_sites(part)
    part.train(module.training)
    return part


class _Tables:
    """The embeddings of a network, checked."""

    def __init__(
        self,
        source: nn.Embedding,
        target: nn.Embedding | None,
        output: nn.Linear | nn.Embedding | None,
        positions: str | nn.Embedding | tuple[nn.Embedding, nn.Embedding],
    ) -> None:
        self.source, self.target = source, source if target is None else target
        self.output: nn.Linear | nn.Embedding = self.target if output is None else output
        self.shared = self.source.weight is self.target.weight
        self.tied = self.output.weight is self.target.weight
        bias = self.output.bias if isinstance(self.output, nn.Linear) else None
        self.bias: Tensor | None = bias
        self.learned = _learned(positions)
        self.positions = "learned" if self.learned else str(positions)

    def check(self, d_model: int) -> None:
        """ConfigError for a table that does not fit the layers, or with `max_norm`."""
        named: Sequence[tuple[str, nn.Module]] = (
            ("source", self.source), ("target", self.target), ("output", self.output),
            *(("positions", table) for table in self.learned),
        )  # fmt: skip
        for name, table in named:
            if not isinstance(table, nn.Embedding | nn.Linear) or (name != "output" and isinstance(table, nn.Linear)):
                wanted = "a torch.nn.Linear or Embedding" if name == "output" else "a torch.nn.Embedding"
                raise ConfigError(f"`{name}` must be {wanted}, but is {type(table).__name__}. Give the table itself.")
            if table.weight.shape[1] != d_model:
                raise ConfigError(
                    f"`{name}` must have vectors of the Transformer's `d_model` ({d_model}), but has "
                    f"{table.weight.shape[1]}. Give the tables that it was trained with."
                )
            if isinstance(table, nn.Embedding) and table.max_norm is not None:
                raise ConfigError(
                    f"`{name}` must have no `max_norm`, which changes vectors as they are looked up, but has "
                    f"{table.max_norm}. Apply it to the weights once, and set it to None."
                )
        rows = self.target.num_embeddings
        if self.output.weight.shape[0] != rows:
            raise ConfigError(
                f"`output` must score the ids of `target` ({rows}), but scores {self.output.weight.shape[0]}. Give "
                "`target` where the sides have tables of their own."
            )

    def weights(self, max_length: int) -> dict[str, Tensor]:
        """The weights by their names in an EncoderDecoder; learned positions are cut to `max_length`."""
        found = {"source.table.weight": self.source.weight, "target.table.weight": self.target.weight}
        found["output.weight"] = self.output.weight
        for side, table in zip(("source", "target"), self.learned, strict=False):
            found[f"{side}.positions.table.weight"] = table.weight[:max_length]
        return found if self.bias is None else {**found, "output_bias": self.bias}


def _learned(positions: object) -> tuple[nn.Embedding, ...]:
    """The tables of positions of source and target; empty if they are not learned."""
    if isinstance(positions, nn.Embedding):
        return positions, positions
    if isinstance(positions, tuple) and len(positions) == 2:
        return positions
    if positions not in POSITIONS:
        raise ConfigError(
            f"`positions` must be one of {', '.join(POSITIONS)}, a torch.nn.Embedding of learned ones, or a pair of "
            f"these for source and target, but is {positions!r:.80}."
        )
    return ()


def _network(
    module: nn.Transformer, tables: _Tables, *, embedding_scale: float | None, max_length: int | None
) -> EncoderDecoder:
    """An EncoderDecoder from `build_network`, so that it can be saved, with these weights."""
    encoder, encoder_layers, weights = read_stack(module.encoder)
    decoder, decoder_layers, others = read_stack(module.decoder)
    _check_alike(encoder, decoder)
    tables.check(encoder.d_model)
    rows = min((table.num_embeddings for table in tables.learned), default=None)
    length = max_length or rows or 1024
    if rows is not None and length > rows:
        raise ConfigError(
            f"`max_length` must be at most the rows of the learned `positions` ({rows}), but is {length}. Lower it."
        )
    usual = encoder.norm_placement == "pre"
    model: dict[str, Any] = {
        "d_model": encoder.d_model, "num_heads": encoder.num_heads, "ffn_dim": encoder.ffn_dim,
        "encoder_layers": encoder_layers, "decoder_layers": decoder_layers, "activation": encoder.activation,
        "norm": "layer", "norm_placement": encoder.norm_placement, "norm_eps": encoder.norm_eps,
        "final_norm": None if encoder.final_norm == usual else encoder.final_norm, "bias": encoder.bias,
        "positions": tables.positions, "embedding_scale": embedding_scale, "tie_embeddings": tables.tied,
        "output_bias": tables.bias is not None, "dropout": encoder.dropout,
        "attention_dropout": encoder.attention_dropout, "activation_dropout": encoder.activation_dropout,
        "max_length": length,
    }  # fmt: skip
    network = build_network(
        ModelConfig(**model),
        AttentionConfig(),
        source_vocab=tables.source.num_embeddings,
        target_vocab=tables.target.num_embeddings,
        shared=tables.shared,
    )
    whole = tables.weights(length)
    whole |= {f"encoder.{name}": weight for name, weight in weights.items()}
    whole |= {f"decoder.{name}": weight for name, weight in others.items()}
    return _filled(network, whole, module)


def _check_alike(encoder: Shape, decoder: Shape) -> None:
    """ConfigError if the stacks differ in a setting that a model has only once."""
    for name in Shape.__dataclass_fields__:
        one, other = getattr(encoder, name), getattr(decoder, name)
        if one != other:
            raise ConfigError(
                f"the encoder and the decoder of a network that is read as a whole must have one `{name}`, but have "
                f"{one} and {other}. Read the stacks alone: from_torch(module) without embeddings."
            )
