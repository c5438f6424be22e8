"""T5Gemma 2 (Zhang et al. 2025, "T5Gemma 2: Seeing, Reading, and Understanding Longer"), its text: an encoder and a
decoder of Gemma 3 layers.

Unlike T5Gemma: attention over the source is merged into the decoder's self-attention; queries and keys are normed;
layers with a window and layers that see all tokens have rotary positions of different bases; both sides and the output
share one table (section 2.2). A window of n reaches (n + 1) / 2 - 1 tokens to the left and n / 2 to the right in the
encoder, rounded down, and n - 1 to the left in the decoder. The token after an image has an input vector of its own.
"""

from __future__ import annotations

from typing import Any

from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.config.vision import VisionConfig
from antiphon.models.families.family import (
    TRANSPOSED,
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
from antiphon.models.families.gemma2_keys import (
    BASES,
    EncoderKeys,
    RopeOfKinds,
    T5Gemma2Keys,
    TextKeys,
    TurnKeys,
    rules_of,
    vision_keys,
)
from antiphon.models.families.gemma_keys import SLIDING, WHOLE
from antiphon.models.families.gemma_sides import FIXED, FROM_ONE, shared_settings, side_settings
from antiphon.models.folders.stored import WeightFiles

NAME = "t5gemma2"
_ENCODER, _DECODER = "model.encoder.", "model.decoder."
_SOURCE, _TARGET = (f"{side}embed_tokens.weight" for side in (_ENCODER, _DECODER))
TABLES = TableKeys(_SOURCE, _SOURCE, _TARGET, "lm_head.out_proj.weight", unties=True, ties=True)
# The scale of a norm of queries or keys, minus one; ours has a dimension of heads.
SCALE_FROM_ONE = Op(lambda x: x[None] + 1, lambda x: x[0] - 1, lambda shape: shape[1:])


def _ours(keys: T5Gemma2Keys, stored: WeightFiles, tables: Tables) -> TranslatedCheckpoint:
    encoder, decoder = keys.encoder.text_config, keys.decoder
    model, record = shared_settings(keys, encoder, decoder, tables)
    record |= {
        "name": NAME,
        "shared_tables": tables.shared,
        "unscaled_id": keys.encoder.eoi_token_index,
        "vision": keys.vision(),
    }
    model |= {"positions": "none", "family": FamilyConfig(**record)}
    own, others = encoder.attention(both_sides=True), decoder.attention(both_sides=False)
    attention = AttentionConfig(encoder=own, decoder=others, cross="merged")
    return TranslatedCheckpoint(ModelConfig(**model), attention, tables, encoder.vocab_size, decoder.vocab_size)


def _theirs(ours: TranslatedCheckpoint) -> T5Gemma2Keys:
    model, family = ours.model, ours.family
    fixed = FIXED | {"positions": "none", "decoder_d_model": None}
    check_plain(ours, NAME, fixed)
    refuse_unless(set(_entries(ours.attention.cross)) == {"merged"}, NAME, "the cross-attention `merged`")
    vision = family.vision
    refuse_unless(vision is not None and family.unscaled_id == vision.end_id, NAME, "images, whose end is not scaled")
    assert vision is not None
    encoder, decoder = _side(ours, "encoder"), _side(ours, "decoder")
    return T5Gemma2Keys(
        **their_special_ids(family),
        bos_token_id=family.start_id,
        encoder=EncoderKeys(
            text_config=encoder,
            vision_config=vision_keys(vision),
            mm_tokens_per_image=vision.tokens,
            boi_token_index=vision.begin_id,
            eoi_token_index=vision.end_id,
        ),
        decoder=decoder,
        image_token_index=vision.image_id,
        dropout_rate=model.dropout,
        attention_dropout=model.attention_dropout,
        tie_word_embeddings=ours.tables.shared and model.tie_embeddings,
        vocab_size=decoder.vocab_size,
    )


def _entries(entry: object) -> list[object]:
    return [str(each) for each in entry] if isinstance(entry, list) else [str(entry)]


def _side(ours: TranslatedCheckpoint, side: str) -> TextKeys:
    """The config of the text of one side."""
    shared = side_settings(ours, side, name=NAME)
    layers = rules_of(getattr(ours.attention, side), shared["num_hidden_layers"], family=NAME)
    eps = shared["rms_norm_eps"]
    same = all(layer["qk_norm"].get("eps", 1e-6) == eps for layer in layers)
    refuse_unless(same, NAME, f"the `eps` of `qk_norm` in the {side} that its norms have ({eps})")
    return TextKeys(
        **shared,
        rope_parameters=RopeOfKinds(
            **{kind: _turns(layers, kind, side) for kind in (SLIDING, WHOLE)}  # type: ignore[arg-type]
        ),
        sliding_window=_window(layers, side, otherwise=ours.model.max_length),
        layer_types=tuple(_kind(layer) for layer in layers),  # type: ignore[arg-type]
        final_logit_softcapping=None if side == "encoder" else ours.model.output_cap,
    )


def _kind(layer: dict[str, Any]) -> str:
    return SLIDING if "window" in layer else WHOLE


def _turns(layers: list[dict[str, Any]], kind: str, side: str) -> TurnKeys:
    """The rotary positions of one kind of layer."""
    found = [layer["rotary"] for layer in layers if _kind(layer) == kind] or [{"base": BASES[kind]}]
    refuse_unless(all(each == found[0] for each in found), NAME, f"one `rotary` in all `{kind}` layers of the {side}")
    base, factor = found[0].get("base", BASES[SLIDING]), found[0].get("factor", 1.0)
    if factor == 1:
        return TurnKeys(rope_theta=base)
    return TurnKeys(rope_type="linear", rope_theta=base, factor=factor)


def _window(layers: list[dict[str, Any]], side: str, *, otherwise: int) -> int:
    """The size of the windows; `otherwise` if there are none: the reference needs a number."""
    found = [layer["window"] for layer in layers if "window" in layer]
    if not found:
        return otherwise
    left, right = found[0]["window"], found[0].get("right") or found[0]["window"]
    known = all(each == found[0] for each in found) and found[0].keys() <= {"window", "right"}
    if side == "decoder":
        refuse_unless(known, NAME, "one plain `window` in the decoder")
        return left
    refuse_unless(known and right - left in (0, 1), NAME, "one `window` in the encoder, `right` as large or one larger")
    return left + right - 1


def _rows(ours: TranslatedCheckpoint) -> list[WeightName]:
    model = ours.model
    pairs = [(f"self_attn.{p}_proj.weight", f"mixer.{p}.weight") for p in "qkvo"]
    pairs += [(f"mlp.{p}_proj.weight", f"ffn.{p}.weight") for p in ("gate", "up", "down")]
    norms = [
        (f"{when}_{theirs}_layernorm.weight", f"{own}_residual.{place}.weight")
        for theirs, own in (("self_attn", "mixer"), ("feedforward", "ffn"))
        for when, place in (("pre", "norm"), ("post", "after"))
    ]
    rows = ours.tables.rows()
    for side, place, layers in (
        ("encoder", _ENCODER, model.encoder_layers),
        ("decoder", _DECODER, model.decoder_layers),
    ):
        both = (f"{place}layers.{{}}.", f"{side}.layers.{{}}.", layers)
        rows += per_layer(*both, pairs)
        rows += [WeightName(row.theirs, row.ours, FROM_ONE) for row in per_layer(*both, norms)]
        rows.append(WeightName(f"{place}norm.weight", f"{side}.final.weight", FROM_ONE))
        for i, rules in enumerate(rules_of(getattr(ours.attention, side), layers, family=NAME)):
            # The rules of a composition are nested, the first one innermost.
            inner = ".left" * (len(rules) - 1)
            rows += [
                WeightName(
                    f"{place}layers.{i}.self_attn.{p}_norm.weight",
                    f"{side}.layers.{i}.mixer.rule{inner}.{p}_scale",
                    SCALE_FROM_ONE,
                )
                for p in "qk"
            ]
    rows.append(WeightName(f"{_ENCODER}embed_tokens.eoi_embedding", "source.own.vector"))
    rows += _vision_rows(ours.family.vision)
    if not (ours.tables.shared and ours.tables.tied):
        rows.append(WeightName(f"{_DECODER}embed_tokens.eoi_embedding", "target.own.vector"))
    return rows


def _vision_rows(vision: VisionConfig | None) -> list[WeightName]:
    """The weights of images."""
    assert vision is not None
    place, channels, size = f"{_ENCODER}vision_tower.", vision.channels, vision.patch
    # A convolution of a patch, here a product with it.
    patches = Op(
        lambda x: x.flatten(1),
        lambda x: x.unflatten(1, (channels, size, size)),
        lambda shape: (shape[0], channels, size, size),
    )
    pairs = [("layer_norm1", "mixer_residual.norm"), ("layer_norm2", "ffn_residual.norm")]
    pairs += [(f"self_attn.{theirs}", f"mixer.{p}") for theirs, p in _VISION_HEADS]
    pairs += [("mlp.fc1", "ffn.up"), ("mlp.fc2", "ffn.down")]
    both = [(f"{theirs}.{kind}", f"{ours}.{kind}") for theirs, ours in pairs for kind in ("weight", "bias")]
    rows = per_layer(f"{place}encoder.layers.{{}}.", "source.vision.encoder.layers.{}.", vision.layers, both)
    rows += [
        WeightName(f"{place}post_layernorm.{kind}", f"source.vision.encoder.final.{kind}")
        for kind in ("weight", "bias")
    ]
    projector = f"{_ENCODER}multi_modal_projector.mm_"
    return [
        *rows,
        WeightName(f"{place}embeddings.patch_embedding.weight", "source.vision.patches.weight", patches),
        WeightName(f"{place}embeddings.patch_embedding.bias", "source.vision.patches.bias"),
        WeightName(f"{place}embeddings.position_embedding.weight", "source.vision.positions.table.weight"),
        WeightName(f"{projector}soft_emb_norm.weight", "source.vision.norm.weight", FROM_ONE),
        WeightName(f"{projector}input_projection_weight", "source.vision.out.weight", TRANSPOSED),
    ]


_VISION_HEADS = (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o"))


T5GEMMA2 = Family(
    NAME,
    "T5Gemma2ForConditionalGeneration",
    T5Gemma2Keys,
    ours=_ours,
    theirs=_theirs,
    rows=_rows,
    tables=TABLES,
    ignored=frozenset({f"{_DECODER}embed_tokens.eoi_embedding"}),
    unread=(f"{_ENCODER}vision_tower.head.",),
    modules=tuple(
        (f"{_ENCODER}{part}.", f"{_ENCODER}text_model.{part}.") for part in ("layers", "embed_tokens", "norm")
    ),
    prefix="model.",
    float16=False,
)
