"""Finds the settings that build a given network, so that a network built in Python can be saved.

    model, attention = describe(network, ids=SpecialIds(pad=0, start=1, end=2), sizes=(8000, 8000), one_tokenizer=True)

Settings are read from the parts. Then a network without weights is built from them, and both are compared module by
module: a difference is an error, never a silent change. Only dropout is not compared, since one setting applies to all
places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.models.attentions import saved_spec
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import named_weights
from antiphon.models.folders.stored import sketching
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import DecoderLayer, EncoderLayer
from antiphon.nn.attention import Attention
from antiphon.nn.mixers import Mixer
from antiphon.nn.noise import Dropout, LayerDrop
from antiphon.nn.positions import ROTARY_BASE, Learned, NoPositions, Sinusoidal

# States, numbers that depend on the place in the network, and settings whose effect (a module `rotary`) is compared.
_NOT_COMPARED = {
    "training",
    "site",
    "frozen",
    "source_window",
    "checkpoint",
    "wants_rotary",
    "rotary_positions",
    "rotary_base",
}


@dataclass(frozen=True)
class SpecialIds:
    """The special ids of the target's tokenizer."""

    pad: int
    start: int
    end: int


def describe(
    network: EncoderDecoder, *, ids: SpecialIds, sizes: tuple[int, int], one_tokenizer: bool
) -> tuple[ModelConfig, AttentionConfig]:
    """The settings from which `build_network` makes a network like this one.

    `sizes`: the vocabulary sizes of the source's and the target's tokenizer; `one_tokenizer`: whether they are the same
    object. Raises ModelError, which names a part of the network that no setting describes.
    """
    source = network.source
    if not isinstance(source, InputEmbedding):
        raise ModelError("a network made by hand must read ids to be saved, but its source is features.")
    try:
        attention = _attention(network)
        model = _model(network, source, family=None)
        same_tables = network.table_sizes == sizes and (source.table is network.target.table) == one_tokenizer
        if not same_tables or _difference(network, model, attention):
            model = _model(network, source, family=_family(network, source, ids))
    except ConfigError as error:
        raise ModelError(f"the network cannot be described by settings: {error}") from error
    if difference := _difference(network, model, attention):
        raise ModelError(
            f"the network must be one that settings can describe to be saved, but {difference}. Save its state_dict "
            "with torch.save instead, and load it into the same parts."
        )
    return model, attention


def _model(network: EncoderDecoder, source: InputEmbedding, *, family: FamilyConfig | None) -> ModelConfig:
    shape, mixers = network.encoder.shape, _mixers(network)
    heads = [mixer for mixer in mixers if isinstance(mixer, Attention)]
    rotary = next((mixer for mixer in heads if mixer.wants_rotary), None)
    turned = next((mixer for mixer in mixers if mixer.rotary_positions), None)
    base = rotary.rotary_base if rotary else turned.rotary_base if turned else ROTARY_BASE
    scales = {mixer.scale for mixer in heads} - {None, shape.head_dim**-0.5}
    scale = next(iter(scales), None)
    if scale is None:
        scale = next((mixer.attention_scale for mixer in mixers if mixer.attention_scale), None)
    return ModelConfig(
        preset="small",
        d_model=shape.d_model,
        encoder_layers=len(network.encoder.layers),
        decoder_layers=len(network.decoder.layers),
        num_heads=shape.num_heads,
        num_kv_heads=_groups(mixers[: len(network.encoder.layers)]),
        head_dim=None if shape.head_dim * shape.num_heads == shape.d_model else shape.head_dim,
        ffn_dim=shape.ffn_dim,
        activation=_plain_activation(shape.activation),
        norm=shape.norm,  # type: ignore[arg-type]
        norm_placement=shape.norm_placement,  # type: ignore[arg-type]
        final_norm=None if shape.final_norm == (shape.norm_placement != "post") else shape.final_norm,
        norm_eps=shape.norm_eps if family is None else None,
        positions="rotary" if rotary or turned else _positions(source.positions),
        rotary_base=base if base != ROTARY_BASE else None,
        bias=shape.bias,
        embedding_scale=None if source.scale == shape.d_model**0.5 else source.scale,
        tie_embeddings=network.output is network.target.table,
        dropout=shape.dropout,
        attention_dropout=shape.attention_dropout,
        activation_dropout=shape.activation_dropout,
        layer_drop=shape.layer_drop,
        word_dropout=getattr(source.words, "p", 0.0),
        max_length=network.max_length,
        attention_scale=scale,
        output_cap=network.output_cap,
        output_bias=isinstance(network.output_bias, nn.Parameter),
        ctc=network.ctc is not None,
        family=family,
    )


def _family(network: EncoderDecoder, source: InputEmbedding, ids: SpecialIds) -> FamilyConfig:
    """The settings that recipes do not have, stored as for families of published checkpoints."""
    encoder, decoder, positions = network.encoder.shape, network.decoder.shape, source.positions
    known = FamilyConfig(name="", pad_id=0, start_id=0, end_id=0)
    depth = len(network.encoder.layers)
    own, groups = (_groups(mixers) for mixers in (_mixers(network)[:depth], _mixers(network)[depth:]))
    return FamilyConfig(
        name="custom",
        pad_id=ids.pad,
        start_id=ids.start,
        end_id=ids.end,
        shared_tables=source.table is network.target.table,
        position_offset=getattr(positions, "offset", 0),
        sinusoids=getattr(positions, "layout", known.sinusoids),
        rounds_scale=source.rounds,
        embedding_norm=not isinstance(source.norm, nn.Identity),
        norm_eps=encoder.norm_eps,
        activation=None if encoder.activation == _plain_activation(encoder.activation) else encoder.activation,  # type: ignore[arg-type]
        decoder_heads=None if decoder.num_heads == encoder.num_heads else decoder.num_heads,
        decoder_kv_heads=None if groups == own else groups,
        decoder_d_model=None if decoder.d_model == encoder.d_model else decoder.d_model,
        decoder_ffn_dim=None if decoder.ffn_dim == encoder.ffn_dim else decoder.ffn_dim,
        memory_projection=isinstance(network.encoder.project, nn.Linear),
        output_scale=network.output_scale != 1.0,
        key_bias=all(getattr(mixer, "key_bias", True) for mixer in _mixers(network)),
    )


def _groups(mixers: Sequence[Mixer]) -> int | None:
    return next((mixer.num_kv_heads for mixer in mixers if mixer.num_kv_heads), None)


def _plain_activation(name: str) -> Any:
    """The nearest activation of recipes; the family's settings have the others."""
    return {"gelu_tanh": "gelu", "geglu_tanh": "geglu", "reglu": "swiglu"}.get(name, name)


def _positions(positions: nn.Module) -> Any:
    for kind, name in ((Sinusoidal, "sinusoidal"), (Learned, "learned"), (NoPositions, "none")):
        if type(positions) is kind:
            return name
    raise ModelError(
        f"positions must be Sinusoidal, Learned or NoPositions to be saved, but are {type(positions).__name__}."
    )


def _mixers(network: EncoderDecoder) -> list[Mixer]:
    """The mixers of the encoder, of the decoder's self-attention, and of its cross-attention."""
    return [mixer for role in _by_role(network).values() for mixer in role]


def _by_role(network: EncoderDecoder) -> dict[str, list[Mixer]]:
    encoder = [layer for layer in network.encoder.layers if isinstance(layer, EncoderLayer)]
    decoder = [layer for layer in network.decoder.layers if isinstance(layer, DecoderLayer)]
    return {
        "encoder": [layer.mixer for layer in encoder],
        "decoder": [layer.mixer for layer in decoder],
        "cross": [layer.cross for layer in decoder],
    }


def _attention(network: EncoderDecoder) -> AttentionConfig:
    """The attention of each role: one entry, or the shortest list that alternates over the layers."""
    entries: dict[str, object] = {}
    backends = {mixer.backend for mixer in _mixers(network) if isinstance(mixer, Attention)} or {"auto"}
    if len(backends) > 1:
        raise ModelError(f"all attentions must have one `backend` to be saved, but have {', '.join(sorted(backends))}.")
    for role, mixers in _by_role(network).items():
        specs = [saved_spec(mixer.rule if isinstance(mixer, Attention) else mixer) for mixer in mixers]
        keys = [_key(mixer, spec) for mixer, spec in zip(mixers, specs, strict=True)]
        period = next((n for n in range(1, len(keys)) if all(keys[i] == keys[i % n] for i in range(len(keys)))), None)
        once = specs[: period or len(specs)]
        entries[role] = "full" if not once else once[0] if len(once) == 1 else once
    return AttentionConfig(**entries, backend=backends.pop())  # type: ignore[arg-type]


def _key(mixer: Mixer, spec: object) -> tuple[object, int]:
    """A key that is equal for layers of one entry, which share the weights of the rule unless it is `per_layer`."""
    if not isinstance(mixer, Attention) or mixer.rule.per_layer or not any(True for _ in mixer.rule.parameters()):
        return repr(spec), 0
    return repr(spec), id(mixer.rule)


def _difference(network: EncoderDecoder, model: ModelConfig, attention: AttentionConfig) -> str:
    """A description of a difference between `network` and one built from these settings; "" if there is none."""
    sizes = network.table_sizes
    family = model.family
    source = network.source
    assert isinstance(source, InputEmbedding)
    shared = source.table is network.target.table if family is None else family.shared_tables
    with sketching():
        made = build_network(model, attention, source_vocab=sizes[0], target_vocab=sizes[1], shared=shared, warn=False)
    own, other = (
        {name: tuple(weight.shape) for name, weight in named_weights(each).items()} for each in (network, made)
    )
    for name in {**own, **other}:
        if own.get(name) != other.get(name):
            return f"`{name}` is {_shape(own.get(name))}, where settings make it {_shape(other.get(name))}"
    theirs = dict(made.named_modules())
    for name, module in network.named_modules():
        if "rules." in name:
            continue  # a rule is compared by its spec; its weights were compared above
        if name not in theirs:
            return f"it has a {type(module).__name__} at `{name}`, which no setting makes"
        if found := _unlike(name, module, theirs[name]):
            return found
    return ""


def _shape(shape: tuple[int, ...] | None) -> str:
    return "not there" if shape is None else str(shape)


def _unlike(name: str, one: nn.Module, other: nn.Module) -> str:
    """A description of the difference between two modules of one name; None if they are equal."""
    if all(isinstance(module, (Dropout, LayerDrop, nn.Identity)) for module in (one, other)):
        return ""  # dropout does not change answers
    kinds = [nn.Embedding if isinstance(module, nn.Embedding) else type(module) for module in (one, other)]
    where = f"`{name}`" if name else "the network"
    if kinds[0] is not kinds[1]:
        return f"{where} is a {kinds[0].__name__}, where settings make a {kinds[1].__name__}"
    if not kinds[0].__module__.startswith(("antiphon.", "torch.")):
        return ""  # a user's own part is defined by its settings
    for key in {**_plain_values(one), **_plain_values(other)}:
        values = getattr(one, key, None), getattr(other, key, None)
        if values[0] != values[1]:
            return f"`{key}` of {where} is {values[0]!r}, where settings make it {values[1]!r}"
    return ""


def _plain_values(module: nn.Module) -> dict[str, object]:
    """The attributes of a module that are numbers, strings or flags."""

    def is_plain(value: object) -> bool:
        if isinstance(value, Sequence) and not isinstance(value, str):
            return all(is_plain(item) for item in value)
        return value is None or isinstance(value, (bool, int, float, str))

    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and key not in _NOT_COMPARED and is_plain(value)
    }
