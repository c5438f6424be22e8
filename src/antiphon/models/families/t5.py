"""T5 (Raffel et al. 2020), 1.1 and Flan, mT5 (Xue et al. 2021), ByT5 (Xue et al. 2022), UMT5 (Chung et al. 2023).

Scores are not scaled; each stack has one table of relative biases, or (UMT5) one a layer; cross-attention has none. The
output is scaled where the table is tied, which `scale_decoder_outputs` says in new files and `tie_word_embeddings` said
in old ones; a separate output table without either is that of 1.1, which does not scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.models.families.family import (
    TRANSPOSED,
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
from antiphon.settings import Range, Rate, require

# There is no table of positions, so that only memory bounds a length; this bound is ours.
LONGEST = 16384
# Theirs -> the model's activation, and the family's in its place.
ACTIVATIONS: dict[str, tuple[str, str | None]] = {
    "relu": ("relu", None),
    "gelu": ("gelu", None),
    "gelu_new": ("gelu", "gelu_tanh"),
    "silu": ("silu", None),
    "gated-gelu": ("geglu", "geglu_tanh"),
    "gated-relu": ("geglu", "reglu"),
    "gated-silu": ("swiglu", None),
}
TABLES = TableKeys(
    "shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight", ties=True
)
# Written by the first conversions, and never read.
IGNORED = frozenset({"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"})


@dataclass(frozen=True, kw_only=True)
class T5Keys(Keys):
    """What is read of a T5's config.json."""

    vocab_size: Vocabulary
    d_model: Size
    d_kv: Size
    d_ff: Size
    num_layers: Layers
    num_decoder_layers: Layers | None = None
    num_heads: Size
    relative_attention_num_buckets: Annotated[int, Range(low=4, high=2**16)] = 32
    relative_attention_max_distance: Annotated[int, Range(low=2, high=2**20)] = 128
    dropout_rate: Rate = 0.1
    layer_norm_epsilon: Annotated[float, Range(low=0, high=1, open_low=True)] = 1e-6
    feed_forward_proj: str = "relu"
    tie_word_embeddings: bool | None = None
    scale_decoder_outputs: bool | None = None

    def check(self) -> None:
        known = ", ".join(ACTIVATIONS)
        problem = f"must be one of {known}, but is `{self.feed_forward_proj:.40}`"
        require(self.feed_forward_proj in ACTIVATIONS, "feed_forward_proj", problem)


def t5_ours(
    name: str, keys: T5Keys, tables: Tables, *, each: bool = False, scales: bool = True
) -> TranslatedCheckpoint:
    """A checkpoint of the T5 line; `each`: a table of biases in every layer; `scales`: whether any output is."""
    scaled = keys.scale_decoder_outputs
    if scaled is None:
        scaled = tables.tied and keys.tie_word_embeddings is not False
    activation, exact = ACTIVATIONS[keys.feed_forward_proj]
    family: dict[str, Any] = {
        **keys.special_ids(),
        "name": name,
        "shared_tables": tables.shared,
        "embedding_scale": False,
        "norm_eps": keys.layer_norm_epsilon,
        "activation": exact,
        "output_scale": scales and scaled,
    }
    relative: dict[str, object] = {
        "buckets": keys.relative_attention_num_buckets,
        "max_distance": keys.relative_attention_max_distance,
    }
    if each:
        relative["per_layer"] = True
    model: dict[str, Any] = {
        "activation": activation,
        "d_model": keys.d_model,
        "encoder_layers": keys.num_layers,
        "decoder_layers": keys.num_layers if keys.num_decoder_layers is None else keys.num_decoder_layers,
        "num_heads": keys.num_heads,
        "head_dim": keys.d_kv,
        "ffn_dim": keys.d_ff,
        "norm": "rms",
        "norm_placement": "pre",
        "positions": "none",
        "bias": False,
        "tie_embeddings": tables.tied,
        "dropout": keys.dropout_rate,
        "attention_dropout": keys.dropout_rate,
        "activation_dropout": keys.dropout_rate,
        "max_length": LONGEST,
        "attention_scale": 1.0,
        "family": FamilyConfig(**family),
    }
    attention = AttentionConfig(encoder={"relative": relative}, decoder={"relative": dict(relative)})
    return TranslatedCheckpoint(ModelConfig(**model), attention, tables, keys.vocab_size, keys.vocab_size)


def t5_theirs(name: str, ours: TranslatedCheckpoint, *, each: bool = False, scales: bool = True) -> T5Keys:
    """The inverse of `t5_ours`."""
    model, family = ours.model, ours.family
    refuse_unless(scales or not family.output_scale, name, "no `output_scale`")
    fixed = {
        "norm": "rms", "norm_placement": "pre", "positions": "none", "bias": False, "attention_scale": 1.0,
        "num_kv_heads": None, "embedding_scale": False, "embedding_norm": False, "output_bias": False,
        "decoder_heads": None, "decoder_ffn_dim": None, **UNKNOWN_TO_MOST,
    }  # fmt: skip
    check_plain(ours, name, fixed)
    kinds = {both: theirs for theirs, both in ACTIVATIONS.items()}
    activation = kinds.get((model.activation, family.activation))
    refuse_unless(activation is not None, name, f"an activation of {', '.join(ACTIVATIONS)}")
    entry = ours.attention.encoder
    rule = entry.get("relative") if isinstance(entry, dict) else None
    refuse_unless(
        isinstance(rule, dict)
        and bool(rule.get("per_layer")) == each
        and ours.attention.decoder == entry
        and ours.attention.cross == "full",
        name,
        f"the rule `relative`{' per layer' if each else ''} in both stacks, equal settings, and `full` across",
    )
    refuse_unless(ours.source_vocab == ours.target_vocab, name, "as many source ids as target ids")
    assert isinstance(rule, dict) and activation is not None
    return T5Keys(
        **their_special_ids(family),
        vocab_size=ours.target_vocab,
        d_model=model.d_model,
        d_kv=model.head_dim or model.d_model // model.num_heads,
        d_ff=model.ffn_dim,
        num_layers=model.encoder_layers,
        num_decoder_layers=model.decoder_layers,
        num_heads=model.num_heads,
        relative_attention_num_buckets=rule.get("buckets", 32),
        relative_attention_max_distance=rule.get("max_distance", 128),
        dropout_rate=model.dropout,
        layer_norm_epsilon=family.norm_eps or 1e-6,
        feed_forward_proj=activation,
        tie_word_embeddings=model.tie_embeddings,
        scale_decoder_outputs=family.output_scale,
    )


def t5_rows(ours: TranslatedCheckpoint, *, each: bool = False) -> list[WeightName]:
    """The weights of the T5 line."""
    gated = (ours.family.activation or ours.model.activation) in ("geglu_tanh", "reglu", "swiglu")
    ffn = [("wi_0", "gate"), ("wi_1", "up"), ("wo", "down")] if gated else [("wi", "up"), ("wo", "down")]
    rows = ours.tables.rows()
    sides = (("encoder", ours.model.encoder_layers), ("decoder", ours.model.decoder_layers))
    for side, layers in sides:
        last = 2 if side == "decoder" else 1  # the place of the feed-forward network in a block
        pairs = [(f"layer.0.SelfAttention.{p}.weight", f"mixer.{p}.weight") for p in "qkvo"]
        pairs += [("layer.0.layer_norm.weight", "mixer_residual.norm.weight")]
        if side == "decoder":
            pairs += [(f"layer.1.EncDecAttention.{p}.weight", f"cross.{p}.weight") for p in "qkvo"]
            pairs += [("layer.1.layer_norm.weight", "cross_residual.norm.weight")]
        pairs += [(f"layer.{last}.DenseReluDense.{a}.weight", f"ffn.{b}.weight") for a, b in ffn]
        pairs += [(f"layer.{last}.layer_norm.weight", "ffn_residual.norm.weight")]
        rows += per_layer(f"{side}.block.{{}}.", f"{side}.layers.{{}}.", layers, pairs)
        bias = f"{side}.block.{{}}.layer.0.SelfAttention.relative_attention_bias.weight"
        if each:
            rows += [
                WeightName(bias.format(i), f"{side}.layers.{i}.mixer.rule.table", TRANSPOSED) for i in range(layers)
            ]
        elif layers:
            rows.append(WeightName(bias.format(0), f"{side}.rules.0.table", TRANSPOSED))
        rows.append(WeightName(f"{side}.final_layer_norm.weight", f"{side}.final.weight"))
    return rows


def _family(name: str, architecture: str, *, each: bool = False, scales: bool = True) -> Family:
    return Family(
        name,
        architecture,
        T5Keys,
        ours=lambda keys, stored, tables: t5_ours(name, keys, tables, each=each, scales=scales),
        theirs=lambda ours: t5_theirs(name, ours, each=each, scales=scales),
        rows=lambda ours: t5_rows(ours, each=each),
        tables=TABLES,
        ignored=IGNORED,
        float16=False,
    )


T5 = _family("t5", "T5ForConditionalGeneration")
MT5 = _family("mt5", "MT5ForConditionalGeneration", scales=False)  # tied or not: all published ones are as 1.1
UMT5 = _family("umt5", "UMT5ForConditionalGeneration", each=True)
