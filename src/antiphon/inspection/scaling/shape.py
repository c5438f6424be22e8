"""The sizes of a network's layers: plain numbers that the arithmetic of this package needs.

with torch.device("meta"):                        # no memory is allocated
    network = build_network(config.model, config.attention, source_vocab=8000, target_vocab=8000, shared=True)
network_shape(network).parameters
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import DecoderLayer, EncoderLayer
from antiphon.nn.attention import Attention
from antiphon.nn.backends.blocks import block_keys, block_length
from antiphon.nn.layers import FeedForward
from antiphon.nn.mixers import Mixer
from antiphon.nn.mixers.additive import Additive
from antiphon.nn.mixers.delta import Delta
from antiphon.nn.mixers.heads import HeadMixer
from antiphon.nn.mixers.merged import Merged
from antiphon.nn.mixers.recurrence import Recurrence
from antiphon.nn.rules import parts_of
from antiphon.nn.rules.biases import Shaw


@dataclass(frozen=True)
class RecurrenceShape:
    """A recurrence: the width of its updates, the tokens of a chunk, its directions, whether rows are read in chunks,
    and whether updates depend on what the memory holds (delta rule)."""

    value_dim: int
    chunk: int
    ways: int
    scan: bool
    corrects: bool


@dataclass(frozen=True)
class MixerShape:
    """One attention. `kind` is dense (every pair of query and key is computed, or those of neighbouring blocks),
    additive (a network for each pair) or recurrent (a memory of fixed size).

    `query_weights` are the elements of linear layers that each query passes, `key_weights` those that each position of
    the memory passes (cross-attention); with `merged` those are weights of the self-attention. `block` and
    `block_keys`: queries and keys of a block. `relative_keys`: learned keys of each head that a query is multiplied
    with (Shaw et al. 2018). `maps`: softmax maps of a head.
    """

    kind: str
    role: str
    num_heads: int
    groups: int
    head_dim: int
    query_weights: int
    key_weights: int
    dropout: bool = False
    merged: bool = False
    block: int = 0
    block_keys: int = 0
    relative_keys: int = 0
    maps: int = 1
    recurrence: RecurrenceShape | None = None


@dataclass(frozen=True)
class LayerShape:
    """A layer of the encoder (`cross` is None) or of the decoder. `ffn_weights` are the elements of its feed-forward
    matrices, `norms` the number of its norms, `parameters` all of its parameters."""

    width: int
    mixer: MixerShape
    cross: MixerShape | None
    ffn_dim: int
    ffn_weights: int
    gated: bool
    relu: bool
    norms: int
    rms: bool
    dropout: bool
    activation_dropout: bool
    parameters: int

    @property
    def linear_weights(self) -> int:
        """The elements of all linear weights of the layer."""
        apart = None if self.cross is None or self.cross.merged else self.cross
        crossing = 0 if apart is None else apart.query_weights + apart.key_weights
        return self.mixer.query_weights + self.mixer.key_weights + crossing + self.ffn_weights


@dataclass(frozen=True)
class NetworkShape:
    """A network. `table` is the number of ids that the output scores, `width` that of the decoder; `root` are the
    parameters outside of the layers (tables, final norms, shared rules). `trainable` is the number of parameters that
    get a gradient, `linear` that of linear weights, `factored` the sum of rows and columns of all matrices, and
    `vectors` the number of parameters that are in no matrix."""

    encoder: tuple[LayerShape, ...]
    decoder: tuple[LayerShape, ...]
    source_width: int
    width: int
    table: int
    root: int
    parameters: int
    trainable: int
    linear: int
    factored: int
    vectors: int

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """All layers."""
        return self.encoder + self.decoder

    @property
    def largest_layer(self) -> int:
        """The most parameters of a layer."""
        return max((layer.parameters for layer in self.layers), default=0)


def network_shape(network: EncoderDecoder) -> NetworkShape:
    """The sizes of `network`, which may be on the device `meta`. A layer that is not one of ours is counted by its
    linear layers, with dense attention."""
    encoder = tuple(_layer(layer) for layer in network.encoder.layers)
    decoder = tuple(_layer(layer) for layer in network.decoder.layers)
    total = _count(network.parameters())
    return NetworkShape(
        encoder=encoder,
        decoder=decoder,
        source_width=network.source.d_model,
        width=network.output.embedding_dim,
        table=network.output.num_embeddings,
        root=total - sum(layer.parameters for layer in encoder + decoder),
        parameters=total,
        trainable=_count(part for part in network.parameters() if part.requires_grad),
        linear=linear_weights(network),
        factored=sum(sum(part.shape[-2:]) * part[..., 0, 0].numel() for part in network.parameters() if part.dim() > 1),
        vectors=sum(part.numel() for part in network.parameters() if part.dim() < 2),
    )


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in {id(one): one for one in parameters}.values())


def _layer(layer: nn.Module) -> LayerShape:
    assert isinstance(layer, EncoderLayer | DecoderLayer)
    ffn, cross = layer.ffn, layer.cross if isinstance(layer, DecoderLayer) else None
    norms = [part for part in layer.modules() if isinstance(part, nn.LayerNorm | nn.RMSNorm)]
    own = [part for mixer in (layer.mixer, cross) if mixer is not None for part in mixer.modules()]
    residual_norms = [part for part in norms if not any(part is other for other in own)]
    plain = isinstance(ffn, FeedForward)
    width = layer.mixer_residual.norm.normalized_shape[0]  # type: ignore[union-attr, index]
    return LayerShape(
        width=int(width),
        mixer=_mixer(layer.mixer),
        cross=None if cross is None else _mixer(cross),
        ffn_dim=ffn.up.out_features if plain else 0,
        ffn_weights=linear_weights(ffn),
        gated=plain and ffn.gate is not None,
        relu=plain and ffn.kind == "relu",
        norms=len(residual_norms),
        rms=any(isinstance(part, nn.RMSNorm) for part in residual_norms),
        dropout=layer.mixer_residual.drop.p > 0,
        activation_dropout=plain and ffn.drop.p > 0,
        parameters=_count(layer.parameters()),
    )


def linear_weights(module: nn.Module) -> int:
    """The elements of the weights of all linear layers of `module`."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def _mixer(mixer: Mixer) -> MixerShape:
    if isinstance(mixer, Merged):
        own = _mixer(mixer.own)
        keys = mixer.own.k.weight.numel() + mixer.own.v.weight.numel()
        return replace(own, role="cross", query_weights=0, key_weights=keys, merged=True, block=0, block_keys=0)
    every = linear_weights(mixer)
    if not isinstance(mixer, HeadMixer):
        return _other(mixer, every)
    keys = mixer.k.weight.numel() + mixer.v.weight.numel() if mixer.role == "cross" else 0
    if isinstance(mixer, Recurrence) and mixer.role == "cross":
        keys = every - mixer.q.weight.numel() - mixer.o.weight.numel()
    common: dict[str, Any] = {
        "role": mixer.role,
        "num_heads": mixer.num_heads,
        "groups": mixer.groups,
        "head_dim": mixer.head_dim,
        "query_weights": every - keys,
        "key_weights": keys,
        "dropout": mixer.drop.p > 0 and "attention_dropout" in mixer.takes,
    }
    if isinstance(mixer, Recurrence):
        delta, own = isinstance(mixer, Delta), mixer.role == "decoder"
        ways = 2 if delta and not own else 1
        recurrence = RecurrenceShape(mixer.value_dim, mixer.chunk_tokens, ways, delta or own, delta)
        return MixerShape("recurrent", **common, recurrence=recurrence)
    if isinstance(mixer, Additive):
        return MixerShape("additive", **common)
    block, block_keys, relative = 0, 0, 0
    if isinstance(mixer, Attention):
        block, block_keys = _blocks(mixer)
        relative = sum(2 * part.max_distance + 1 for part in parts_of(mixer.rule) if isinstance(part, Shaw))
    maps = getattr(mixer, "maps", 1)
    return MixerShape("dense", **common, block=block, block_keys=block_keys, relative_keys=relative, maps=maps)


def _other(mixer: Mixer, every: int) -> MixerShape:
    """A mixer of the user's own, or `torch.nn.MultiheadAttention`: dense attention of the width of the layer."""
    role = str(mixer.role)
    inside = next((part for part in mixer.modules() if isinstance(part, nn.MultiheadAttention)), None)
    if inside is None:
        return MixerShape("dense", role, 1, 1, 0, every, 0)
    width, keys = inside.embed_dim, 0
    if inside.in_proj_weight is not None:
        every += inside.in_proj_weight.numel()
        keys = 2 * width * width if role == "cross" else 0
    return MixerShape("dense", role, inside.num_heads, inside.num_heads, inside.head_dim, every - keys, keys)


def _blocks(mixer: Attention) -> tuple[int, int]:
    """The queries and the keys of a block, if the reach of the rule is bounded; else zeros."""
    reach = mixer.rule.reach
    right = None if reach is None else 0 if mixer.role == "decoder" else reach[1]
    if mixer.role == "cross" or reach is None or reach[0] is None or right is None:
        return 0, 0
    return block_length(reach[0], right), block_keys(reach[0], right, reach[2])
