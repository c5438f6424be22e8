"""TrOCR (Li et al. 2023, "TrOCR: Transformer-based Optical Character Recognition with Pre-trained Models").

The encoder is a ViT (Dosovitskiy et al. 2021) or a DeiT (Touvron et al. 2021) on images of a fixed size, pre-norm; the
decoder is of the fairseq line, post-norm, with learned positions, the first in row 2 of the table, or sinusoids. The
decoder's cross-attention reads vectors of the encoder's width, or of its own behind a linear layer. The files are those
of transformers' vision-encoder-decoder, whose config.json has a section for each side; other encoders and decoders are
not built here.
"""

from __future__ import annotations

from typing import Any

from antiphon.config import ROLES, AttentionConfig, FamilyConfig, ImageConfig, ModelConfig
from antiphon.errors import ModelError
from antiphon.models.families.fairseq import ACTIVATIONS
from antiphon.models.families.family import (
    ONE_ROW,
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
from antiphon.models.families.trocr_keys import PREPROCESSED, DecoderKeys, ImageEncoderKeys, TrOCRKeys
from antiphon.models.folders.stored import WeightFiles

NAME = "vision-encoder-decoder"
_DECODER = "decoder.model.decoder."
_TABLE = f"{_DECODER}embed_tokens.weight"
TABLES = TableKeys(_TABLE, _TABLE, _TABLE, "decoder.output_projection.weight")
_PREFIX = ("cls_token", "distillation_token")  # the vectors before the patches: ViT has the first, DeiT both
_LEARNED_OFFSET = 2  # of the decoder's learned positions
_PROJECTIONS = [("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o")]


def _ours(keys: TrOCRKeys, stored: WeightFiles, tables: Tables) -> TranslatedCheckpoint:
    encoder, decoder = keys.encoder, keys.decoder
    if decoder.cross_attention_hidden_size not in (None, encoder.hidden_size):
        raise ModelError(
            f"`decoder.cross_attention_hidden_size` in config.json must be the encoder's `hidden_size` "
            f"({encoder.hidden_size}) or left out, but is {decoder.cross_attention_hidden_size}. Use the file that "
            "belongs to the model."
        )
    projected = decoder.cross_attention_hidden_size is None and decoder.d_model != encoder.hidden_size
    ids, (activation, exact) = keys.special_ids(), ACTIVATIONS[encoder.hidden_act]
    own = ACTIVATIONS[decoder.activation_function]
    learned = decoder.use_learned_position_embeddings
    record: dict[str, Any] = {
        **ids,
        "name": NAME,
        "shared_tables": False,
        "embedding_scale": decoder.scale_embedding,
        "embedding_norm": decoder.layernorm_embedding,
        "position_offset": _LEARNED_OFFSET if learned else ids["pad_id"] + 1,
        "sinusoids": "closed_halves",
        "activation": exact,
        "norm_eps": encoder.layer_norm_eps,
        "encoder_qkv_bias": encoder.qkv_bias,
        "decoder_activation": None if own == (activation, exact) else own[1] or own[0],
        "decoder_norm_placement": "post",
        "decoder_norm_eps": 1e-5,
        "decoder_d_model": None if decoder.d_model == encoder.hidden_size else decoder.d_model,
        "decoder_heads": decoder.decoder_attention_heads,
        "decoder_ffn_dim": decoder.decoder_ffn_dim,
        "memory_projection": projected,
    }
    model = ModelConfig(
        activation=activation,  # type: ignore[arg-type]
        d_model=encoder.hidden_size,
        encoder_layers=encoder.num_hidden_layers,
        decoder_layers=decoder.decoder_layers,
        num_heads=encoder.num_attention_heads,
        ffn_dim=encoder.intermediate_size,
        norm="layer",
        norm_placement="pre",
        positions="learned" if learned else "sinusoidal",
        bias=True,
        tie_embeddings=tables.tied,
        dropout=decoder.dropout,
        attention_dropout=decoder.attention_dropout,
        activation_dropout=decoder.activation_dropout,
        layer_drop=decoder.decoder_layerdrop,
        max_length=decoder.max_position_embeddings,
        input={"image": keys.image_settings()},
        family=FamilyConfig(**record),
    )
    apart = TABLES.place(shared=False, tied=tables.tied)
    return TranslatedCheckpoint(model, AttentionConfig(), apart, decoder.vocab_size, decoder.vocab_size)


def _theirs(ours: TranslatedCheckpoint) -> TrOCRKeys:
    model, family, settings = ours.model, ours.family, ours.model.input_settings
    learned = model.positions == "learned"
    fixed = {
        "norm": "layer", "norm_placement": "pre", "bias": True, "num_kv_heads": None, "attention_scale": None,
        "decoder_kv_heads": None, "decoder_norm_placement": "post", "decoder_norm_eps": 1e-5, "output_cap": None,
        "output_scale": False, "output_bias": False, "rounds_scale": False, "key_bias": True, "shared_tables": False,
        "position_offset": _LEARNED_OFFSET if learned else family.pad_id + 1, "head_dim": None, "speech": None,
        # of any value:
        "decoder_activation": family.decoder_activation, "encoder_qkv_bias": family.encoder_qkv_bias,
        "memory_projection": family.memory_projection, "input": model.input,
    }  # fmt: skip
    check_plain(ours, NAME, fixed)
    refuse_unless(learned or model.positions == "sinusoidal", NAME, "learned or sinusoidal `positions`")
    refuse_unless(isinstance(settings, ImageConfig), NAME, "sources that are images")
    assert isinstance(settings, ImageConfig)
    kinds = {both: theirs for theirs, both in reversed(ACTIVATIONS.items())}
    mine = (model.activation, family.activation)
    its = family.decoder_activation
    other = mine if its is None else ("gelu", "gelu_tanh") if its == "gelu_tanh" else (its, None)
    refuse_unless({mine, other} <= set(kinds), NAME, f"activations of {', '.join(ACTIVATIONS)}")
    full = all(getattr(ours.attention, role) == "full" for role in ROLES)
    refuse_unless(full, NAME, "`full` attention in every role")
    ids, width = their_special_ids(family), family.decoder_d_model or model.d_model
    apart = not family.memory_projection or width != model.d_model
    refuse_unless(apart, NAME, "no projection of the memory between stacks of one width")
    decoder = DecoderKeys(
        vocab_size=ours.target_vocab,
        d_model=width,
        decoder_layers=model.decoder_layers,
        decoder_attention_heads=family.decoder_heads or model.num_heads,
        decoder_ffn_dim=family.decoder_ffn_dim or model.ffn_dim,
        activation_function=kinds[other],
        max_position_embeddings=model.max_length,
        dropout=model.dropout,
        attention_dropout=model.attention_dropout,
        activation_dropout=model.activation_dropout,
        decoder_layerdrop=model.layer_drop,
        scale_embedding=family.embedding_scale,
        use_learned_position_embeddings=learned,
        layernorm_embedding=family.embedding_norm,
        cross_attention_hidden_size=None if family.memory_projection else model.d_model,
        tie_word_embeddings=model.tie_embeddings,
        pad_token_id=family.pad_id,
        eos_token_id=family.end_id,
        decoder_start_token_id=family.start_id,
    )
    encoder = ImageEncoderKeys.of(model, settings, family=NAME, hidden_act=kinds[mine])
    return TrOCRKeys(**ids, encoder=encoder, decoder=decoder, **TrOCRKeys.preprocessing(settings))


def _rows(ours: TranslatedCheckpoint) -> list[WeightName]:
    model, settings, both = ours.model, ours.model.input_settings, ("weight", "bias")
    assert isinstance(settings, ImageConfig)
    rows = [WeightName(ours.tables.target, "target.table.weight")]
    rows += [] if ours.tables.tied else [WeightName(ours.tables.output, "output.weight")]
    front = "encoder.embeddings."
    rows += [WeightName(front + _PREFIX[i], f"source.prefix.{i}", ONE_ROW) for i in range(settings.prefix_tokens)]
    rows.append(WeightName(f"{front}position_embeddings", "source.positions.table.weight", ONE_ROW))
    patch = f"{front}patch_embeddings.projection."
    rows += [WeightName(f"{patch}weight", "source.project.weight", _kernel(settings.channels, settings.patch))]
    rows += [WeightName(f"{patch}bias", "source.project.bias")]
    ends = both if ours.family.encoder_qkv_bias else ("weight",)
    names = (("query", "q"), ("key", "k"), ("value", "v"))
    pairs = [(f"attention.attention.{a}.{end}", f"mixer.{b}.{end}") for a, b in names for end in ends]
    parts = [
        ("attention.output.dense", "mixer.o"), ("layernorm_before", "mixer_residual.norm"),
        ("intermediate.dense", "ffn.up"), ("output.dense", "ffn.down"), ("layernorm_after", "ffn_residual.norm"),
    ]  # fmt: skip
    pairs += _ends(parts)
    rows += per_layer("encoder.encoder.layer.{}.", "encoder.layers.{}.", model.encoder_layers, pairs)
    rows += [WeightName(f"encoder.layernorm.{end}", f"encoder.final.{end}") for end in both]
    if ours.family.memory_projection:
        rows += [WeightName(f"enc_to_dec_proj.{end}", f"encoder.project.{end}") for end in both]
    parts = [(f"self_attn.{a}", f"mixer.{b}") for a, b in _PROJECTIONS]
    parts += [(f"encoder_attn.{a}", f"cross.{b}") for a, b in _PROJECTIONS]
    parts += [("self_attn_layer_norm", "mixer_residual.norm"), ("encoder_attn_layer_norm", "cross_residual.norm")]
    parts += [("fc1", "ffn.up"), ("fc2", "ffn.down"), ("final_layer_norm", "ffn_residual.norm")]
    rows += per_layer(f"{_DECODER}layers.{{}}.", "decoder.layers.{}.", model.decoder_layers, _ends(parts))
    if model.positions == "learned":
        rows.append(WeightName(f"{_DECODER}embed_positions.weight", "target.positions.table.weight"))
    if ours.family.embedding_norm:
        rows += [WeightName(f"{_DECODER}layernorm_embedding.{end}", f"target.norm.{end}") for end in both]
    return rows


def _ends(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(f"{a}.{end}", f"{b}.{end}") for a, b in parts for end in ("weight", "bias")]


def _kernel(channels: int, patch: int) -> Op:
    """The kernel (D, C, p, p) of a convolution over patches, as the weight (D, C * p * p) of a linear layer."""
    return Op(
        lambda x: x.flatten(1),
        lambda x: x.view(-1, channels, patch, patch),
        lambda shape: (shape[0], channels, patch, patch),
    )


TROCR = Family(
    NAME,
    "VisionEncoderDecoderModel",
    TrOCRKeys,
    _ours,
    _theirs,
    _rows,
    TABLES,
    ignored=frozenset({"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}),
    preprocessed=PREPROCESSED,
    preprocessor={"image_processor_type": "ViTImageProcessor"},
    sections={"encoder": ("vit", "deit"), "decoder": ("trocr",)},
)
