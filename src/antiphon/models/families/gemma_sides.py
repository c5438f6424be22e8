"""What T5Gemma and T5Gemma 2 have in common: the settings of two sides, in their config.json and ours."""

from __future__ import annotations

from typing import Any

from antiphon.models.families.family import Op, Tables, TranslatedCheckpoint, refuse_unless
from antiphon.models.families.gemma2_keys import T5Gemma2Keys, TextKeys
from antiphon.models.families.gemma_keys import ACTIVATIONS, StackKeys, T5GemmaKeys

FIXED = {
    "norm": "rms", "norm_placement": "sandwich", "bias": False, "embedding_scale": True, "rounds_scale": True,
    "embedding_norm": False, "output_scale": False, "output_bias": False,
}  # fmt: skip
FROM_ONE = Op(lambda x: x + 1, lambda x: x - 1, lambda shape: shape)  # the scale of a norm, stored minus one


def shared_settings(
    keys: T5GemmaKeys | T5Gemma2Keys, encoder: StackKeys | TextKeys, decoder: StackKeys | TextKeys, tables: Tables
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a ModelConfig and of its FamilyConfig."""
    activation, exact = ACTIVATIONS[encoder.hidden_activation]

    def other(name: str) -> Any:
        mine, its = getattr(encoder, name), getattr(decoder, name)
        return None if mine == its else its

    model = {
        "activation": activation,
        "d_model": encoder.hidden_size,
        "encoder_layers": encoder.num_hidden_layers,
        "decoder_layers": decoder.num_hidden_layers,
        "num_heads": encoder.num_attention_heads,
        "num_kv_heads": encoder.num_key_value_heads,
        "head_dim": encoder.head_dim,
        "ffn_dim": encoder.intermediate_size,
        "norm": "rms",
        "norm_placement": "sandwich",
        "bias": False,
        "tie_embeddings": tables.tied,
        "dropout": keys.dropout_rate,
        "attention_dropout": keys.attention_dropout,
        "activation_dropout": keys.dropout_rate,
        "max_length": min(encoder.max_position_embeddings, decoder.max_position_embeddings),
        "attention_scale": encoder.query_pre_attn_scalar**-0.5,
        "output_cap": decoder.final_logit_softcapping,
    }
    family = {
        **keys.special_ids(),
        "embedding_scale": True,
        "rounds_scale": True,
        "norm_eps": encoder.rms_norm_eps,
        "activation": exact,
        "decoder_d_model": other("hidden_size"),
        "decoder_heads": other("num_attention_heads"),
        "decoder_kv_heads": other("num_key_value_heads"),
        "decoder_ffn_dim": other("intermediate_size"),
    }
    return model, family


def side_settings(ours: TranslatedCheckpoint, side: str, *, name: str) -> dict[str, Any]:
    """The settings of one side for their config.json, without those of its attention rules. `name` is the family's."""
    model, family = ours.model, ours.family
    encodes = side == "encoder"
    width = model.d_model if encodes else family.decoder_d_model or model.d_model
    heads = model.num_heads if encodes else family.decoder_heads or model.num_heads
    groups = model.num_kv_heads if encodes else family.decoder_kv_heads or model.num_kv_heads
    head_dim = model.head_dim or width // heads
    scalar = head_dim if model.attention_scale is None else round(model.attention_scale**-2)
    exact = model.attention_scale in (None, scalar**-0.5)
    refuse_unless(exact, name, "an `attention_scale` that is one over the root of a whole number")
    own = (model.activation, family.activation)
    activation = next((theirs for theirs, both in ACTIVATIONS.items() if both == own), None)
    refuse_unless(activation is not None, name, f"an activation of {', '.join(ACTIVATIONS)}")
    return {
        "vocab_size": ours.source_vocab if encodes else ours.target_vocab,
        "hidden_size": width,
        "intermediate_size": model.ffn_dim if encodes else family.decoder_ffn_dim or model.ffn_dim,
        "num_hidden_layers": model.encoder_layers if encodes else model.decoder_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups or heads,
        "head_dim": head_dim,
        "hidden_activation": activation,
        "max_position_embeddings": model.max_length,
        "rms_norm_eps": family.norm_eps or 1e-6,
        "query_pre_attn_scalar": scalar,
        "pad_token_id": family.pad_id,
        "bos_token_id": family.start_id,
        "eos_token_id": family.end_id,
    }
