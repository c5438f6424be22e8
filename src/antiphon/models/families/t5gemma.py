"""T5Gemma (Zhang et al. 2025, "Encoder-Decoder Gemma"): two stacks of Gemma 2, one that encodes and one that decodes.

Norms before and after each block, rotary positions, grouped keys, a soft cap of scores and of logits, and layers that
alternate between a sliding window and all tokens (Gemma Team 2024, Gemma 2, section 2). The scale of a norm is kept as
its distance from one. A window of n reaches n tokens either way in the encoder, and n - 1 back in the decoder. The two
sides may differ in depth, width, heads, windows and caps; in what else they share must agree.
"""

from __future__ import annotations

from typing import Any

from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.models.families.family import (
    Family,
    Op,
    TableKeys,
    Tables,
    TranslatedCheckpoint,
    WeightName,
    check_plain,
    per_layer,
    refuse_unless,
    their_special_ids,
)
from antiphon.models.families.gemma_keys import (
    ACTIVATIONS,
    SLIDING,
    WHOLE,
    Layer,
    RopeKeys,
    StackKeys,
    T5GemmaKeys,
    layers_of,
)
from antiphon.models.folders.stored import WeightFiles

NAME = "t5gemma"
# No file has one table for both sides.
_SOURCE, _TARGET = (f"model.{side}.embed_tokens.weight" for side in ("encoder", "decoder"))
TABLES = TableKeys(_SOURCE, _SOURCE, _TARGET, "lm_head.out_proj.weight")
FROM_ONE = Op(lambda x: x + 1, lambda x: x - 1, lambda shape: shape)


def _ours(keys: T5GemmaKeys, stored: WeightFiles, tables: Tables) -> TranslatedCheckpoint:
    encoder, decoder = keys.encoder, keys.decoder
    activation, exact = ACTIVATIONS[encoder.hidden_activation]

    def other(name: str) -> Any:
        mine, its = getattr(encoder, name), getattr(decoder, name)
        return None if mine == its else its

    record: dict[str, Any] = {
        **keys.special_ids(),
        "name": NAME,
        "shared_tables": False,
        "embedding_scale": True,
        "rounds_scale": True,
        "norm_eps": encoder.rms_norm_eps,
        "activation": exact,
        "decoder_d_model": other("hidden_size"),
        "decoder_heads": other("num_attention_heads"),
        "decoder_kv_heads": other("num_key_value_heads"),
        "decoder_ffn_dim": other("intermediate_size"),
    }
    model: dict[str, Any] = {
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
        "positions": "rotary",
        "rotary_base": encoder.base,
        "bias": False,
        "tie_embeddings": tables.tied,
        "dropout": keys.dropout_rate,
        "attention_dropout": keys.attention_dropout,
        "activation_dropout": keys.dropout_rate,
        "max_length": min(encoder.max_position_embeddings, decoder.max_position_embeddings),
        "attention_scale": encoder.query_pre_attn_scalar**-0.5,
        "output_cap": decoder.final_logit_softcapping,
        "family": FamilyConfig(**record),
    }
    cross = Layer(decoder.attn_logit_softcapping, None).spec()
    attention = AttentionConfig(encoder=encoder.attention(more=1), decoder=decoder.attention(more=0), cross=cross)
    apart = TABLES.place(shared=False, tied=tables.tied)
    return TranslatedCheckpoint(ModelConfig(**model), attention, apart, encoder.vocab_size, decoder.vocab_size)


def _theirs(ours: TranslatedCheckpoint) -> T5GemmaKeys:
    model, family = ours.model, ours.family
    fixed = {
        "norm": "rms", "norm_placement": "sandwich", "positions": "rotary", "bias": False, "embedding_scale": True,
        "rounds_scale": True, "embedding_norm": False, "output_scale": False, "output_bias": False,
        "shared_tables": False,
    }  # fmt: skip
    check_plain(ours, NAME, fixed)
    special_ids, encoder, decoder = their_special_ids(family), _side(ours, "encoder"), _side(ours, "decoder")
    across = set(layers_of(ours.attention.cross, model.decoder_layers, family=NAME))
    same = across <= {Layer(decoder.attn_logit_softcapping, None)}
    refuse_unless(same, NAME, "the decoder's `soft_cap` in its attention across too, and no other rule")
    return T5GemmaKeys(
        **special_ids,
        bos_token_id=family.start_id,
        encoder=encoder,
        decoder=decoder,
        dropout_rate=model.dropout,
        attention_dropout=model.attention_dropout,
        tie_word_embeddings=model.tie_embeddings,
        vocab_size=decoder.vocab_size,
    )


def _side(ours: TranslatedCheckpoint, side: str) -> StackKeys:
    """The config of one side."""
    model, family = ours.model, ours.family
    encodes = side == "encoder"
    depth = model.encoder_layers if encodes else model.decoder_layers
    layers = layers_of(getattr(ours.attention, side), depth, family=NAME)
    caps, windows = {layer.cap for layer in layers}, {layer.window for layer in layers} - {None}
    refuse_unless(len(caps) <= 1 and len(windows) <= 1, NAME, f"one cap and one window in all layers of the {side}")
    width = model.d_model if encodes else family.decoder_d_model or model.d_model
    heads = model.num_heads if encodes else family.decoder_heads or model.num_heads
    groups = model.num_kv_heads if encodes else family.decoder_kv_heads or model.num_kv_heads
    refuse_unless(width % heads == 0, NAME, f"a width that is a multiple of the heads in the {side}")
    head_dim = model.head_dim or width // heads
    scalar = head_dim if model.attention_scale is None else round(model.attention_scale**-2)
    exact = model.attention_scale in (None, scalar**-0.5)
    refuse_unless(exact, NAME, "an `attention_scale` that is one over the root of a whole number")
    own = (model.activation, family.activation)
    activation = next((theirs for theirs, both in ACTIVATIONS.items() if both == own), None)
    refuse_unless(activation is not None, NAME, f"an activation of {', '.join(ACTIVATIONS)}")
    assert activation is not None
    window = next(iter(windows), None)
    base = model.rotary_base or 10000.0
    return StackKeys(
        vocab_size=ours.source_vocab if encodes else ours.target_vocab,
        hidden_size=width,
        intermediate_size=model.ffn_dim if encodes else family.decoder_ffn_dim or model.ffn_dim,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=groups or heads,
        head_dim=head_dim,
        hidden_activation=activation,
        max_position_embeddings=model.max_length,
        rms_norm_eps=family.norm_eps or 1e-6,
        rope_parameters=RopeKeys(rope_theta=base),
        rope_theta=base,
        query_pre_attn_scalar=scalar,
        # The reference wants a number also where no layer has a window.
        sliding_window=model.max_length if window is None else max(window - encodes, 1),
        layer_types=tuple(WHOLE if layer.window is None else SLIDING for layer in layers),
        attn_logit_softcapping=next(iter(caps), None),
        final_logit_softcapping=model.output_cap,
        pad_token_id=family.pad_id,
        bos_token_id=family.start_id,
        eos_token_id=family.end_id,
    )


def _rows(ours: TranslatedCheckpoint) -> list[WeightName]:
    projections = [(f"{p}_proj.weight", f"{p}.weight") for p in "qkvo"]
    rows = ours.tables.rows()
    for side, layers in (("encoder", ours.model.encoder_layers), ("decoder", ours.model.decoder_layers)):
        blocks = [("self_attn", "mixer"), ("feedforward", "ffn")]
        blocks += [("cross_attn", "cross")] if side == "decoder" else []
        pairs = [(f"mlp.{p}_proj.weight", f"ffn.{p}.weight") for p in ("gate", "up", "down")]
        norms = []
        for theirs, own in blocks:
            if own != "ffn":
                pairs += [(f"{theirs}.{a}", f"{own}.{b}") for a, b in projections]
            norms += [(f"pre_{theirs}_layernorm.weight", f"{own}_residual.norm.weight")]
            norms += [(f"post_{theirs}_layernorm.weight", f"{own}_residual.after.weight")]
        place = (f"model.{side}.layers.{{}}.", f"{side}.layers.{{}}.", layers)
        rows += per_layer(*place, pairs)
        rows += [WeightName(row.theirs, row.ours, FROM_ONE) for row in per_layer(*place, norms)]
        rows.append(WeightName(f"model.{side}.norm.weight", f"{side}.final.weight", FROM_ONE))
    return rows


T5GEMMA = Family(
    NAME,
    "T5GemmaForConditionalGeneration",
    T5GemmaKeys,
    ours=_ours,
    theirs=_theirs,
    rows=_rows,
    tables=TABLES,
    prefix="model.",
    float16=False,
)
