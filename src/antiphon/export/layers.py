"""Maps the layers of a network to CTranslate2's specification."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from antiphon.errors import ModelError
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, DecoderLayer, Encoder, EncoderLayer, Residual
from antiphon.nn.attention import Attention
from antiphon.nn.layers import FeedForward
from antiphon.nn.mixers import Mixer
from antiphon.nn.rules import Full, Relative, ScoreRule, parts_of

EXPRESSIBLE = "full and relative (T5) attention, with the same kind in every layer of a stack and full in cross"
_ACTIVATIONS = {
    "relu": "RELU", "reglu": "RELU", "gelu": "GELU", "geglu": "GELU", "gelu_tanh": "GELUTanh",
    "geglu_tanh": "GELUTanh", "silu": "SWISH", "swiglu": "SWISH",
}  # fmt: skip


def specification(network: EncoderDecoder, parts: Parts) -> Any:
    """An empty TransformerSpec of the network's shape; ModelError for what the library does not support."""
    from ctranslate2.specs import common_spec, transformer_spec

    model = parts.model
    activation = (model.family.activation if model.family else None) or model.activation
    encoders, decoders = _layers(network.encoder), _layers(network.decoder)
    if not isinstance(network.source, InputEmbedding):
        raise ModelError("CTranslate2 has models of texts in Antiphon's export, but this one reads features of sound.")
    unknown = {
        "norm_placement": model.norm_placement not in ("pre", "post"),
        "final_norm": model.final_norm not in (None, model.norm_placement == "pre"),
        "output_cap": network.output_cap is not None,
        "family.memory_projection": bool(model.family and model.family.memory_projection),
        "family.decoder_d_model": bool(model.family and model.family.decoder_d_model not in (None, model.d_model)),
    }
    for name in (name for name, found in unknown.items() if found):
        raise ModelError(f"CTranslate2 does not support this model's `{name}` in Antiphon's export.")
    if not encoders:
        raise ModelError("CTranslate2 needs at least one encoder layer, but `model.encoder_layers` is 0.")
    own, others = _attention(encoders[0].mixer, "encoder"), _attention(decoders[0].mixer, "decoder")
    for layer in encoders:
        _same_kind(layer.mixer, own, "encoder")
    for layer in decoders:
        _same_kind(layer.mixer, others, "decoder")
        if _bias(_attention(layer.cross, "cross")) is not None:
            _refuse(layer.cross, "cross")
    common = {
        "pre_norm": model.norm_placement == "pre",
        "activation": getattr(common_spec.Activation, _ACTIVATIONS[activation]),
        "layernorm_embedding": not isinstance(network.source.norm, nn.Identity),
        "ffn_glu": encoders[0].ffn.gate is not None,
        "rms_norm": model.norm == "rms",
        "rotary_interleave": False,
    }
    kinds = [
        {
            "num_heads": first.num_heads,
            "num_heads_kv": first.num_kv_heads,
            "head_dim": first.head_dim,
            "rotary_dim": 0 if first.rotary is not None else None,
            "rotary_base": first.rotary_base,
            "relative_attention_bias": _bias(first) is not None,
        }
        for first in (own, others)
    ]
    encoder = transformer_spec.TransformerEncoderSpec(len(encoders), **common, **kinds[0])
    decoder = transformer_spec.TransformerDecoderSpec(len(decoders), **common, **kinds[1])
    return transformer_spec.TransformerSpec(encoder, decoder)


def fill_encoder(spec: Any, network: EncoderDecoder) -> None:
    """Fill in the weights of the encoder."""
    assert isinstance(network.source, InputEmbedding)  # `specification` refuses others
    _front(spec, spec.embeddings[0], network.source, network.max_length)
    if isinstance(network.encoder.final, nn.LayerNorm | nn.RMSNorm):
        _norm(spec.layer_norm, network.encoder.final)
    for place, layer in zip(spec.layer, _layers(network.encoder), strict=True):
        _self_attention(place.self_attention, layer.mixer, layer.mixer_residual)
        _ffn(place.ffn, layer.ffn, layer.ffn_residual)


def fill_decoder(spec: Any, network: EncoderDecoder) -> None:
    """Fill in the weights of the decoder and the output projection."""
    _front(spec, spec.embeddings, network.target, network.max_length)
    if isinstance(network.decoder.final, nn.LayerNorm | nn.RMSNorm):
        _norm(spec.layer_norm, network.decoder.final)
    spec.projection.weight = _copy(network.output.weight)
    if network.output_bias is not None:
        spec.projection.bias = _copy(network.output_bias)
    spec.scale_outputs = float(network.output_scale) if network.output_scale != 1 else spec.scale_outputs
    for place, layer in zip(spec.layer, _layers(network.decoder), strict=True):
        _self_attention(place.self_attention, layer.mixer, layer.mixer_residual)
        cross = cast(Attention, layer.cross)
        _linear(place.attention.linear[0], cross.q)
        _linear(place.attention.linear[1], cross.k, cross.v)
        _linear(place.attention.linear[2], cross.o)
        _norm(place.attention.layer_norm, layer.cross_residual.norm)
        _scale(place.attention, cross)
        _ffn(place.ffn, layer.ffn, layer.ffn_residual)


def _layers(stack: Encoder | Decoder) -> list[Any]:
    return cast("list[EncoderLayer | DecoderLayer]", list(stack.layers))


def _attention(mixer: Mixer, role: str) -> Attention:
    """`mixer`, if it is dot-product attention under a rule that the library supports."""
    if (
        type(mixer) is not Attention
        or len(_rules(mixer)) > 1
        or not all(isinstance(r, Relative) for r in _rules(mixer))
    ):
        _refuse(mixer, role)
    return cast(Attention, mixer)


def _rules(attention: Attention) -> list[ScoreRule]:
    """The score rules other than full attention."""
    return [part for part in parts_of(attention.rule) if not isinstance(part, Full)]


def _bias(attention: Attention) -> Relative | None:
    """The relative bias, if there is one."""
    rules = _rules(attention)
    return cast(Relative, rules[0]) if rules else None


def _same_kind(mixer: Mixer, first: Attention, role: str) -> None:
    if (_bias(_attention(mixer, role)) is None) != (_bias(first) is None):
        _refuse(mixer, role)


def _refuse(mixer: Mixer, role: str) -> None:
    names = [type(part).__name__ for part in (_rules(mixer) if isinstance(mixer, Attention) else [mixer])] or ["Full"]
    raise ModelError(f"CTranslate2 has {EXPRESSIBLE}, but this model's {role} attention is `{'` and `'.join(names)}`.")


def _front(spec: Any, embeddings: Any, front: InputEmbedding, max_length: int) -> None:
    """Fill in embeddings, their scale, and position encodings."""
    embeddings.weight = _copy(front.table.weight)
    spec.scale_embeddings = float(front.scale)
    if "position_encodings" in vars(spec):  # neither rotary nor relative
        weight = front.table.weight
        nothing = torch.zeros(1, max_length, weight.shape[1], dtype=torch.float32, device=weight.device)
        added = front.positions(nothing, torch.arange(max_length, device=weight.device)[None])
        spec.position_encodings.encodings = _copy(added[0])
    if not isinstance(front.norm, nn.Identity):
        _norm(spec.layernorm_embedding, front.norm)


def _self_attention(spec: Any, mixer: Mixer, residual: Residual) -> None:
    attention = cast(Attention, mixer)
    _linear(spec.linear[0], attention.q, attention.k, attention.v)
    _linear(spec.linear[1], attention.o)
    _norm(spec.layer_norm, residual.norm)
    _scale(spec, attention)
    if (bias := _bias(attention)) is not None:
        spec.relative_attention_bias = _copy(bias.table.T)
        spec.relative_attention_max_distance = torch.tensor(bias.max_distance, dtype=torch.int32).numpy()


def _scale(spec: Any, attention: Attention) -> None:
    assert attention.scale is not None
    if attention.scale != attention.head_dim**-0.5:
        spec.queries_scale = float(attention.scale)


def _ffn(spec: Any, ffn: FeedForward, residual: Residual) -> None:
    _norm(spec.layer_norm, residual.norm)
    if ffn.gate is None:
        _linear(spec.linear_0, ffn.up)
    else:  # the library's first layer is the one before the activation
        _linear(spec.linear_0, ffn.gate)
        _linear(spec.linear_0_noact, ffn.up)
    _linear(spec.linear_1, ffn.down)


def _norm(spec: Any, norm: nn.Module) -> None:
    spec.gamma = _copy(cast(Tensor, norm.weight))
    if isinstance(norm, nn.LayerNorm):
        spec.beta = torch.zeros_like(spec.gamma) if norm.bias is None else _copy(norm.bias)


def _linear(spec: Any, *layers: nn.Module) -> None:
    """Concatenate the weights of several layers with the same input."""
    spec.weight = torch.cat([_copy(cast(Tensor, layer.weight)) for layer in layers])
    if any(layer.bias is not None for layer in layers):
        spec.bias = torch.cat([_bias_of(layer) for layer in layers])


def _bias_of(layer: nn.Module) -> Tensor:
    """The bias of a linear layer; zeros if it has none, as for the keys of some families."""
    weight, bias = cast(Tensor, layer.weight), cast("Tensor | None", layer.bias)
    return torch.zeros(weight.shape[0]) if bias is None else _copy(bias)


def _copy(tensor: Tensor) -> Tensor:
    """A copy in float32: the library quantizes in place."""
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
