"""BART (Lewis et al. 2020) and Marian (Junczys-Dowmunt et al. 2018): post-norm layers with biases, of the fairseq line.

BART has learned positions, the first in row 2 of their table, and a norm behind the embeddings; Marian has sinusoids,
sines before cosines, starts answers from padding, and may have two vocabularies. Both may have a bias on the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.errors import ModelError
from antiphon.models.families.family import (
    ONE_ROW,
    Family,
    Keys,
    Layers,
    Ours,
    Row,
    Size,
    TableKeys,
    Tables,
    Vocabulary,
    check_plain,
    per_layer,
    refuse_unless,
    their_marks,
)
from antiphon.models.stored import Stored
from antiphon.settings import Range, Rate, require

OFFSET = 2  # rows of BART's position table before the first position
BIAS = "final_logits_bias"
# Theirs -> the model's activation, and the family's in its place.
ACTIVATIONS: dict[str, tuple[str, str | None]] = {
    "relu": ("relu", None),
    "gelu": ("gelu", None),
    "gelu_new": ("gelu", "gelu_tanh"),
    "gelu_pytorch_tanh": ("gelu", "gelu_tanh"),
    "swish": ("silu", None),
    "silu": ("silu", None),
}
TABLES = TableKeys(
    "model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"
)


@dataclass(frozen=True, kw_only=True)
class BartKeys(Keys):
    """What is read of a BART's config.json."""

    vocab_size: Vocabulary
    d_model: Size
    max_position_embeddings: Annotated[int, Range(low=1, high=2**20)] = 1024
    encoder_layers: Layers
    decoder_layers: Layers
    encoder_attention_heads: Size
    decoder_attention_heads: Size
    encoder_ffn_dim: Size
    decoder_ffn_dim: Size
    activation_function: str = "gelu"
    dropout: Rate = 0.1
    attention_dropout: Rate = 0.0
    activation_dropout: Rate = 0.0
    encoder_layerdrop: Rate = 0.0
    decoder_layerdrop: Rate = 0.0
    scale_embedding: bool = False
    tie_word_embeddings: bool = True

    def check(self) -> None:
        problem = f"must be one of {', '.join(ACTIVATIONS)}, but is `{self.activation_function:.40}`"
        require(self.activation_function in ACTIVATIONS, "activation_function", problem)


@dataclass(frozen=True, kw_only=True)
class MarianKeys(BartKeys):
    """What is read of a Marian's config.json."""

    decoder_vocab_size: Vocabulary | None = None
    share_encoder_decoder_embeddings: bool = True


def common_model(
    keys: BartKeys, stored: Stored, tables: Tables, *, family: dict[str, Any], model: dict[str, Any]
) -> ModelConfig:
    """The model of a checkpoint of the fairseq line; `family` and `model` are what its members differ in."""
    activation, exact = ACTIVATIONS[keys.activation_function]
    # Most checkpoints have a bias of zeros, which would cost a copy of the output table in training.
    biased = BIAS in stored and bool(stored.read(BIAS).any())
    heads, ffn_dim = keys.decoder_attention_heads, keys.decoder_ffn_dim
    record: dict[str, Any] = {
        **keys.marks(),
        "shared_tables": tables.shared,
        "embedding_scale": keys.scale_embedding,
        "activation": exact,
        "decoder_heads": None if heads == keys.encoder_attention_heads else heads,
        "decoder_ffn_dim": None if ffn_dim == keys.encoder_ffn_dim else ffn_dim,
        "output_bias": biased,
        **family,
    }
    for side in ("encoder", "decoder"):
        count = getattr(keys, f"{side}_attention_heads")
        if keys.d_model % count:
            raise ModelError(f"`d_model` ({keys.d_model}) must be a multiple of `{side}_attention_heads` ({count}).")
    made: dict[str, Any] = {
        "activation": activation,
        "d_model": keys.d_model,
        "encoder_layers": keys.encoder_layers,
        "decoder_layers": keys.decoder_layers,
        "num_heads": keys.encoder_attention_heads,
        "ffn_dim": keys.encoder_ffn_dim,
        "norm": "layer",
        "bias": True,
        "tie_embeddings": tables.tied,
        "dropout": keys.dropout,
        "attention_dropout": keys.attention_dropout,
        "activation_dropout": keys.activation_dropout,
        "layer_drop": keys.encoder_layerdrop,
        "max_length": keys.max_position_embeddings,
        "family": FamilyConfig(**record),
        **model,
    }
    return ModelConfig(**made)


def common_keys(name: str, ours: Ours, fixed: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `common_model`; `fixed` are the values of settings that the family cannot change."""
    model, family = ours.model, ours.family
    same = {"norm": "layer", "bias": True, "num_kv_heads": None, "attention_scale": None, "norm_eps": None}
    check_plain(ours, name, {**same, "output_scale": False, **fixed})
    kinds = {both: theirs for theirs, both in reversed(ACTIVATIONS.items())}
    activation = kinds.get((model.activation, family.activation))
    refuse_unless(activation is not None, name, f"an activation of {', '.join(ACTIVATIONS)}")
    roles = {role: getattr(ours.attention, role) for role in ("encoder", "decoder", "cross")}
    refuse_unless(all(entry == "full" for entry in roles.values()), name, "`full` attention in every role")
    heads = family.decoder_heads or model.num_heads
    square = (model.head_dim or model.d_model // heads) * heads == model.d_model
    refuse_unless(square and model.d_model % model.num_heads == 0, name, "heads that divide `d_model`")
    return {
        **their_marks(family),
        "vocab_size": ours.source_vocab,
        "d_model": model.d_model,
        "max_position_embeddings": model.max_length,
        "encoder_layers": model.encoder_layers,
        "decoder_layers": model.decoder_layers,
        "encoder_attention_heads": model.num_heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": model.ffn_dim,
        "decoder_ffn_dim": family.decoder_ffn_dim or model.ffn_dim,
        "activation_function": activation,
        "dropout": model.dropout,
        "attention_dropout": model.attention_dropout,
        "activation_dropout": model.activation_dropout,
        "encoder_layerdrop": model.layer_drop,
        "decoder_layerdrop": model.layer_drop,
        "scale_embedding": family.embedding_scale,
        "tie_word_embeddings": model.tie_embeddings,
    }


def common_rows(ours: Ours) -> list[Row]:
    """The weights of the fairseq line, by what the model has of them."""
    model = ours.model
    rows = ours.tables.rows()
    both = ("weight", "bias")
    projections = [("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o")]
    for side, layers, front in (
        ("encoder", model.encoder_layers, "source"),
        ("decoder", model.decoder_layers, "target"),
    ):
        parts = [(f"self_attn.{a}", f"mixer.{b}") for a, b in projections]
        parts += [("self_attn_layer_norm", "mixer_residual.norm")]
        if side == "decoder":
            parts += [(f"encoder_attn.{a}", f"cross.{b}") for a, b in projections]
            parts += [("encoder_attn_layer_norm", "cross_residual.norm")]
        parts += [("fc1", "ffn.up"), ("fc2", "ffn.down"), ("final_layer_norm", "ffn_residual.norm")]
        pairs = [(f"{a}.{end}", f"{b}.{end}") for a, b in parts for end in both]
        rows += per_layer(f"model.{side}.layers.{{}}.", f"{side}.layers.{{}}.", layers, pairs)
        if model.positions == "learned":
            rows.append(Row(f"model.{side}.embed_positions.weight", f"{front}.positions.table.weight"))
        if ours.family.embedding_norm:
            rows += [Row(f"model.{side}.layernorm_embedding.{end}", f"{front}.norm.{end}") for end in both]
        if model.norm_placement == "pre":
            rows += [Row(f"model.{side}.layer_norm.{end}", f"{side}.final.{end}") for end in both]
    return [*rows, Row(BIAS, "output_bias", ONE_ROW)] if ours.family.output_bias else rows


def _bart(keys: BartKeys, stored: Stored, tables: Tables) -> Ours:
    family = {"name": "bart", "position_offset": OFFSET, "embedding_norm": True}
    layers = {"positions": "learned", "norm_placement": "post"}
    model = common_model(keys, stored, tables, family=family, model=layers)
    return Ours(model, AttentionConfig(), tables, keys.vocab_size, keys.vocab_size)


def _to_bart(ours: Ours) -> BartKeys:
    fixed = {
        "positions": "learned", "norm_placement": "post", "position_offset": OFFSET, "embedding_norm": True,
    }  # fmt: skip
    refuse_unless(ours.source_vocab == ours.target_vocab, "bart", "as many source ids as target ids")
    return BartKeys(**common_keys("bart", ours, fixed))


def _marian(keys: MarianKeys, stored: Stored, tables: Tables) -> Ours:
    family, layers = {"name": "marian", "sinusoids": "halves"}, {"positions": "sinusoidal", "norm_placement": "post"}
    model = common_model(keys, stored, tables, family=family, model=layers)
    target = None if keys.share_encoder_decoder_embeddings else keys.decoder_vocab_size
    return Ours(model, AttentionConfig(), tables, keys.vocab_size, target or keys.vocab_size)


def _to_marian(ours: Ours) -> MarianKeys:
    fixed = {"positions": "sinusoidal", "norm_placement": "post", "sinusoids": "halves", "embedding_norm": False}
    return MarianKeys(
        **common_keys("marian", ours, fixed),
        decoder_vocab_size=ours.target_vocab,
        share_encoder_decoder_embeddings=ours.tables.shared,
    )


_CONSTANT = frozenset({"model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"})

BART = Family(
    "bart",
    "BartForConditionalGeneration",
    BartKeys,
    ours=_bart,
    theirs=_to_bart,
    rows=common_rows,
    tables=TABLES,
    ignored=frozenset({"model.encoder.version", "model.decoder.version", BIAS}),
    prefix="model.",
)
MARIAN = Family(
    "marian",
    "MarianMTModel",
    MarianKeys,
    ours=_marian,
    theirs=_to_marian,
    rows=common_rows,
    tables=TABLES,
    ignored=_CONSTANT | {BIAS},
    prefix="model.",
)
