"""What BART, mBART, BlenderBot, Marian, Pegasus and M2M-100 have in common: layers with biases, in fairseq's words.

    MBART = line("mbart", "MBartForConditionalGeneration", {"norm_placement": "pre", ...}, {"position_offset": 2, ...})

A member says which settings are fixed for it; the rest stands in its config.json. Any may have a bias on the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch

from antiphon.config import ROLES, AttentionConfig, FamilyConfig, ModelConfig
from antiphon.errors import ModelError
from antiphon.models.families.family import (
    ONE_ROW,
    UNKNOWN_TO_MOST,
    Family,
    Keys,
    Layers,
    Size,
    TableKeys,
    Tables,
    TranslatedCheckpoint,
    Vocabulary,
    WeightName,
    check_plain,
    per_layer,
    refuse_unless,
    their_special_ids,
)
from antiphon.models.folders.stored import WeightFiles
from antiphon.nn.positions import SINUSOIDS
from antiphon.settings import Range, Rate, require

BIAS = "final_logits_bias"
_ROUNDED = 1e-3  # how far a table of sinusoids may be off that was computed in float32 over a thousand positions
# Written by some libraries, and never read: versions, tables of sinusoids, a bias of zeros.
IGNORED = frozenset(
    {f"model.{side}.{what}" for side in ("encoder", "decoder") for what in ("version", "embed_positions.weights")}
    | {BIAS}
)
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
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
    unties=True,
)


@dataclass(frozen=True, kw_only=True)
class LineKeys(Keys):
    """What is read of the config.json of every member."""

    vocab_size: Vocabulary
    d_model: Size
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
class BartKeys(LineKeys):
    """What is read of a BART's config.json."""

    max_position_embeddings: Annotated[int, Range(low=1, high=2**20)] = 1024

    @property
    def target_vocab(self) -> int:
        """Rows of the target's table."""
        return self.vocab_size

    @classmethod
    def of(cls, ours: TranslatedCheckpoint, values: dict[str, Any]) -> Self:
        """The keys of a model, from the `values` that all members have."""
        refuse_unless(ours.source_vocab == ours.target_vocab, ours.family.name, "as many source ids as target ids")
        return cls(**values)


def common_model(
    keys: LineKeys, stored: WeightFiles, tables: Tables, *, family: dict[str, Any], model: dict[str, Any]
) -> ModelConfig:
    """The model of a checkpoint of the fairseq line; `family` and `model` are what its members differ in."""
    activation, exact = ACTIVATIONS[keys.activation_function]
    # Most checkpoints have a bias of zeros, which would cost a copy of the output table in training.
    biased = BIAS in stored and bool(stored.read(BIAS).any())
    heads, ffn_dim = keys.decoder_attention_heads, keys.decoder_ffn_dim
    record: dict[str, Any] = {
        **keys.special_ids(),
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
        "family": FamilyConfig(**record),
        **model,
    }
    return ModelConfig(**made)


def common_keys(name: str, ours: TranslatedCheckpoint, fixed: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `common_model`; `fixed` are the values of settings that the family cannot change."""
    model, family = ours.model, ours.family
    same = {"norm": "layer", "bias": True, "num_kv_heads": None, "attention_scale": None, "norm_eps": None}
    check_plain(ours, name, {**same, **UNKNOWN_TO_MOST, "output_scale": False, **fixed})
    kinds = {both: theirs for theirs, both in reversed(ACTIVATIONS.items())}
    activation = kinds.get((model.activation, family.activation))
    refuse_unless(activation is not None, name, f"an activation of {', '.join(ACTIVATIONS)}")
    roles = {role: getattr(ours.attention, role) for role in ROLES}
    refuse_unless(all(entry == "full" for entry in roles.values()), name, "`full` attention in every role")
    heads = family.decoder_heads or model.num_heads
    square = (model.head_dim or model.d_model // heads) * heads == model.d_model
    refuse_unless(square and model.d_model % model.num_heads == 0, name, "heads that divide `d_model`")
    return {
        **their_special_ids(family),
        "vocab_size": ours.source_vocab,
        "d_model": model.d_model,
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


def check_sinusoids(stored: WeightFiles, model: ModelConfig) -> None:
    """ModelError where a file's table of positions holds other numbers than the sinusoids that are computed here.

    Files hold the constant in several types, and fairseq's has zeros in the row of padding.
    """
    record = model.family
    assert record is not None
    for key in (f"model.{side}.embed_positions.weight{s}" for side in ("encoder", "decoder") for s in ("", "s")):
        if key not in stored or len(stored.shape(key)) != 2:
            continue
        found = stored.read(key)
        rows, width = found.shape
        there = torch.arange(rows) != (record.pad_id if record.sinusoids == "closed_halves" else -1)
        away = float("inf")
        if width == model.d_model and bool(there.any()):
            wanted = SINUSOIDS[record.sinusoids](torch.arange(rows)[None], width)[0]
            away = float((found[there].double() - wanted[there].double()).abs().max())
        limit = max(_ROUNDED, 2 * torch.finfo(found.dtype).eps)
        if not away <= limit:
            raise ModelError(
                f"`{key}` in `{stored.file(key)}` must be the sinusoids of {record.name}, which are computed, to "
                f"{limit:.0e}, but differs by {away:.2g}. Use a file with the usual table."
            )


def common_rows(ours: TranslatedCheckpoint) -> list[WeightName]:
    """The weights of the fairseq line, by what the model has of them."""
    model = ours.model
    rows = ours.tables.rows()
    both = ("weight", "bias")
    projections = [("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o")]
    keyless = {"self_attn.k_proj", "encoder_attn.k_proj"} if not ours.family.key_bias else set()
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
        pairs = [(f"{a}.{end}", f"{b}.{end}") for a, b in parts for end in both if end == "weight" or a not in keyless]
        rows += per_layer(f"model.{side}.layers.{{}}.", f"{side}.layers.{{}}.", layers, pairs)
        if model.positions == "learned":
            rows.append(WeightName(f"model.{side}.embed_positions.weight", f"{front}.positions.table.weight"))
        if ours.family.embedding_norm:
            rows += [WeightName(f"model.{side}.layernorm_embedding.{end}", f"{front}.norm.{end}") for end in both]
        if model.norm_placement == "pre":
            rows += [WeightName(f"model.{side}.layer_norm.{end}", f"{side}.final.{end}") for end in both]
    return [*rows, WeightName(BIAS, "output_bias", ONE_ROW)] if ours.family.output_bias else rows


def line(
    name: str,
    architecture: str,
    model: dict[str, Any],
    family: dict[str, Any],
    *,
    keys: type[BartKeys] = BartKeys,
) -> Family:
    """A member with these values of `ModelConfig` and `FamilyConfig`, which its config.json does not say."""
    plain = {
        "position_offset": 0, "sinusoids": "interleaved", "embedding_norm": False, "key_bias": True, "speech": None,
    }  # fmt: skip
    fixed = {**plain, **model, **family}

    def ours(keys: BartKeys, stored: WeightFiles, tables: Tables) -> TranslatedCheckpoint:
        whole = {"max_length": keys.max_position_embeddings, **model}
        made = common_model(keys, stored, tables, family={"name": name, **family}, model=whole)
        if made.positions == "sinusoidal":
            check_sinusoids(stored, made)
        return TranslatedCheckpoint(made, AttentionConfig(), tables, keys.vocab_size, keys.target_vocab)

    def theirs(ours: TranslatedCheckpoint) -> BartKeys:
        return keys.of(ours, common_keys(name, ours, fixed) | {"max_position_embeddings": ours.model.max_length})

    # A table of sinusoids is a constant, which some files hold all the same.
    tables = {f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder")}
    ignored = IGNORED | (tables if model["positions"] == "sinusoidal" else set())
    return Family(name, architecture, keys, ours, theirs, common_rows, TABLES, frozenset(ignored), prefix="model.")
