"""T5Gemma (Zhang et al. 2025, "Encoder-Decoder Gemma"): an encoder and a decoder of Gemma 2 layers.

Norms before and after each block, rotary positions, grouped keys, a soft cap of scores and of logits, and layers that
alternate between a sliding window and all tokens (Gemma Team 2024, Gemma 2, section 2). The scale of a norm is
stored minus one. A window of n reaches n tokens to either side in the encoder, and n - 1 to the left in the decoder.
The two sides may differ in depth, width, heads, windows and caps; other settings must be equal.
"""

from __future__ import annotations

from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.models.families.family import (
    Family,
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
    SLIDING,
    WHOLE,
    Layer,
    RopeKeys,
    StackKeys,
    T5GemmaKeys,
    layers_of,
)
from antiphon.models.families.gemma_sides import FIXED, FROM_ONE, shared_settings, side_settings
from antiphon.models.folders.stored import WeightFiles

NAME = "t5gemma"
# Files always have a table for each side.
_SOURCE, _TARGET = (f"model.{side}.embed_tokens.weight" for side in ("encoder", "decoder"))
TABLES = TableKeys(_SOURCE, _SOURCE, _TARGET, "lm_head.out_proj.weight")


def _ours(keys: T5GemmaKeys, stored: WeightFiles, tables: Tables) -> TranslatedCheckpoint:
    encoder, decoder = keys.encoder, keys.decoder
    model, record = shared_settings(keys, encoder, decoder, tables)
    record |= {"name": NAME, "shared_tables": False}
    model |= {"positions": "rotary", "rotary_base": encoder.base, "family": FamilyConfig(**record)}
    cross = Layer(decoder.attn_logit_softcapping, None).spec()
    attention = AttentionConfig(encoder=encoder.attention(more=1), decoder=decoder.attention(more=0), cross=cross)
    apart = TABLES.place(shared=False, tied=tables.tied)
    return TranslatedCheckpoint(ModelConfig(**model), attention, apart, encoder.vocab_size, decoder.vocab_size)


def _theirs(ours: TranslatedCheckpoint) -> T5GemmaKeys:
    model, family = ours.model, ours.family
    fixed = FIXED | {"positions": "rotary", "shared_tables": False}
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
    encodes = side == "encoder"
    shared = side_settings(ours, side, name=NAME)
    layers = layers_of(getattr(ours.attention, side), shared["num_hidden_layers"], family=NAME)
    caps, windows = {layer.cap for layer in layers}, {layer.window for layer in layers} - {None}
    refuse_unless(len(caps) <= 1 and len(windows) <= 1, NAME, f"one cap and one window in all layers of the {side}")
    whole = shared["hidden_size"] % shared["num_attention_heads"] == 0
    refuse_unless(whole, NAME, f"a width that is a multiple of the heads in the {side}")
    window = next(iter(windows), None)
    base = ours.model.rotary_base or 10000.0
    return StackKeys(
        **shared,
        rope_parameters=RopeKeys(rope_theta=base),
        rope_theta=base,
        # The reference requires a number even if no layer has a window.
        sliding_window=ours.model.max_length if window is None else max(window - encodes, 1),
        layer_types=tuple(WHOLE if layer.window is None else SLIDING for layer in layers),
        attn_logit_softcapping=next(iter(caps), None),
        final_logit_softcapping=ours.model.output_cap,
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
