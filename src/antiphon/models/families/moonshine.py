"""Moonshine (Jeffries et al. 2024): from speech to text, with work that grows with the length of a recording.

Frames of samples pass three convolutions; rotary positions turn a part of each head, in pairs of neighbours (as in
GLM), which here are half a head apart: the rows of queries and keys are permuted. The decoder's feed-forward layers are
gated, in one table. Norms have no biases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from antiphon.config import ROLES, AttentionConfig, AudioConfig, FamilyConfig, ModelConfig
from antiphon.errors import ModelError
from antiphon.models.families.fairseq import ACTIVATIONS
from antiphon.models.families.family import (
    SAME,
    UNKNOWN_TO_MOST,
    Family,
    Keys,
    Layers,
    Op,
    Size,
    TableKeys,
    Tables,
    TranslatedCheckpoint,
    Vocabulary,
    WeightName,
    check_plain,
    refuse_unless,
    their_special_ids,
)
from antiphon.models.folders.stored import WeightFiles
from antiphon.settings import Positive, Range, Rate, Settings, Share, require

_TABLE = "model.decoder.embed_tokens.weight"
_GATED = {"relu": "reglu", "gelu": "geglu", "gelu_tanh": "geglu_tanh", "silu": "swiglu"}
_WINDOW, _HOP = 127, 64  # of the first convolution, over samples
_SECONDS = 60.0  # the longest recording; its files name no limit
_SOUND = {"features": "samples", "window": _WINDOW, "hop": _HOP, "kernels": [1, 7, 3], "strides": [1, 3, 2],
          "activations": ["tanh_norm", "gelu", "gelu"], "padding": False}  # fmt: skip
_FAMILY = {"shared_tables": True, "embedding_scale": False, "ffn_bias": True, "norm_bias": False}
_MODEL = {"norm": "layer", "norm_placement": "pre", "positions": "rotary", "bias": False}
_Heads = Annotated[int, Range(low=1, high=1024)]


@dataclass(frozen=True, kw_only=True)
class PartialRopeKeys(Settings):
    """The keys of `rope_parameters`."""

    rope_type: str = "default"
    rope_theta: Positive = 10000.0
    partial_rotary_factor: Share = 0.9


@dataclass(frozen=True, kw_only=True)
class MoonshineKeys(Keys):
    """The keys that are read of a Moonshine's config.json and preprocessor_config.json; the defaults are the
    library's."""

    vocab_size: Vocabulary = 32768
    hidden_size: Size = 288
    intermediate_size: Size = 1152
    encoder_num_hidden_layers: Layers = 6
    decoder_num_hidden_layers: Layers = 6
    encoder_num_attention_heads: _Heads = 8
    decoder_num_attention_heads: _Heads = 8
    encoder_num_key_value_heads: _Heads | None = None
    decoder_num_key_value_heads: _Heads | None = None
    encoder_hidden_act: str = "gelu"
    decoder_hidden_act: str = "silu"
    max_position_embeddings: Annotated[int, Range(low=1, high=2**20)] = 512
    rope_parameters: PartialRopeKeys | None = None
    rope_theta: Positive | None = None
    partial_rotary_factor: Share | None = None
    attention_bias: bool = False
    attention_dropout: Rate = 0.0
    tie_word_embeddings: bool = True
    sampling_rate: Annotated[int, Range(low=1000, high=2**20)] = 16000
    feature_size: Annotated[int, Range(low=1, high=1)] = 1
    do_normalize: bool = False

    def check(self) -> None:
        for side in ("encoder", "decoder"):
            name = f"{side}_hidden_act"
            value = getattr(self, name)
            require(value in ACTIVATIONS, name, f"must be one of {', '.join(ACTIVATIONS)}, but is `{value:.40}`")
            for name in (f"{side}_num_key_value_heads", f"{side}_num_attention_heads"):
                heads = getattr(self, name) or self.encoder_num_attention_heads
                same = heads == self.encoder_num_attention_heads  # its queries are split into as many heads
                problem = f"must be `encoder_num_attention_heads` ({self.encoder_num_attention_heads}), but is {heads}"
                require(same, name, problem)
        whole = self.hidden_size % (2 * self.encoder_num_attention_heads) == 0
        problem = f"must be a multiple of twice the {self.encoder_num_attention_heads} heads, but is {self.hidden_size}"
        require(whole, "hidden_size", problem)
        require(not self.attention_bias, "attention_bias", "must be false, but is true")
        require(not self.do_normalize, "do_normalize", "must be false, as samples are read as they are, but is true")
        kind = self.rope.rope_type
        require(kind == "default", "rope_parameters.rope_type", f"must be default, but is `{kind:.40}`")

    @property
    def rope(self) -> PartialRopeKeys:
        """Rotary positions, in the section of newer files or beside the other keys."""
        if self.rope_parameters is not None:
            return self.rope_parameters
        share = self.partial_rotary_factor
        return PartialRopeKeys(
            rope_theta=self.rope_theta or 10000.0, partial_rotary_factor=0.9 if share is None else share
        )

    def special_ids(self) -> dict[str, Any]:
        """As of other families; without a `pad_token_id`, padding is the end."""
        ends = self.eos_token_id if isinstance(self.eos_token_id, tuple) else (self.eos_token_id,)
        pad = self.pad_token_id if self.pad_token_id is not None else ends[0]
        if pad is None:
            raise ModelError("`eos_token_id` must be given in config.json, but is not there. Restore the file.")
        start = 1 if self.decoder_start_token_id is None else self.decoder_start_token_id
        found = Keys(**{name: getattr(self, name) for name in Keys.__dataclass_fields__ if name != "pad_token_id"},
                     pad_token_id=pad).special_ids()  # fmt: skip
        return found | {"start_id": start}


def _ours(keys: MoonshineKeys, stored: WeightFiles, tables: Tables) -> TranslatedCheckpoint:
    width, heads, rope = keys.hidden_size, keys.encoder_num_attention_heads, keys.rope
    activation, exact = ACTIVATIONS[keys.encoder_hidden_act]
    gated = ACTIVATIONS[keys.decoder_hidden_act]
    turned = int(width // heads * rope.partial_rotary_factor)
    require(turned > 0, "rope_parameters.partial_rotary_factor", "must turn a feature of each head, but turns none")
    family: dict[str, Any] = {
        "name": "moonshine",
        **keys.special_ids(),
        **_FAMILY,
        "activation": exact,
        "decoder_activation": _GATED[gated[1] or gated[0]],
        "rotary_width": None if turned == width // heads else turned,
    }
    sound = {**_SOUND, "sampling_rate": keys.sampling_rate, "seconds": _SECONDS, "channels": [width, 2 * width]}
    model: dict[str, Any] = {
        **_MODEL,
        "activation": activation,
        "d_model": width,
        "encoder_layers": keys.encoder_num_hidden_layers,
        "decoder_layers": keys.decoder_num_hidden_layers,
        "num_heads": heads,
        "ffn_dim": keys.intermediate_size,
        "rotary_base": None if rope.rope_theta == 10000.0 else rope.rope_theta,
        "tie_embeddings": tables.tied,
        "dropout": 0.0,
        "attention_dropout": keys.attention_dropout,
        "max_length": keys.max_position_embeddings,
        "input": {"audio": sound},
        "family": FamilyConfig(**family),
    }
    return TranslatedCheckpoint(ModelConfig(**model), AttentionConfig(), tables, keys.vocab_size, keys.vocab_size)


def _theirs(ours: TranslatedCheckpoint) -> MoonshineKeys:
    model, family, audio, name = ours.model, ours.family, ours.model.input_settings, "moonshine"
    refuse_unless(isinstance(audio, AudioConfig), name, "sources of sound")
    assert isinstance(audio, AudioConfig)
    width = model.d_model
    wanted = AudioConfig(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in _SOUND.items()},  # type: ignore[arg-type]
        sampling_rate=audio.sampling_rate,
        seconds=audio.seconds,
        channels=(width, 2 * width),
    )
    refuse_unless(audio == wanted, name, "its frames of samples and convolutions")
    same = {
        **UNKNOWN_TO_MOST, **_MODEL, **_FAMILY, "input": model.input, "num_kv_heads": None, "attention_scale": None,
        "head_dim": None, "decoder_heads": None, "decoder_ffn_dim": None, "position_offset": 0, "key_bias": True,
        "embedding_norm": False, "output_scale": False, "output_bias": False, "speech": None,
        "decoder_activation": family.decoder_activation, "rotary_width": family.rotary_width,
    }  # fmt: skip
    check_plain(ours, name, same)
    roles = {role: getattr(ours.attention, role) for role in ROLES}
    refuse_unless(all(entry == "full" for entry in roles.values()), name, "`full` attention in every role")
    kinds = {both: theirs for theirs, both in reversed(ACTIVATIONS.items())}
    plain = kinds.get((model.activation, family.activation))
    gates = {_GATED[both[1] or both[0]]: theirs for theirs, both in reversed(ACTIVATIONS.items())}
    gated = gates.get(family.decoder_activation or "")
    refuse_unless(plain is not None and gated is not None, name, "a plain activation, and a gated one in the decoder")
    assert plain is not None and gated is not None
    head = width // model.num_heads
    return MoonshineKeys(
        **their_special_ids(family),
        vocab_size=ours.target_vocab,
        hidden_size=width,
        intermediate_size=model.ffn_dim,
        encoder_num_hidden_layers=model.encoder_layers,
        decoder_num_hidden_layers=model.decoder_layers,
        encoder_num_attention_heads=model.num_heads,
        decoder_num_attention_heads=model.num_heads,
        encoder_num_key_value_heads=model.num_heads,
        decoder_num_key_value_heads=model.num_heads,
        encoder_hidden_act=plain,
        decoder_hidden_act=gated,
        max_position_embeddings=model.max_length,
        rope_parameters=PartialRopeKeys(
            rope_theta=model.rotary_base or 10000.0,
            # In the middle between two widths, so that no rounding changes it.
            partial_rotary_factor=1.0 if family.rotary_width is None else (family.rotary_width + 0.5) / head,
        ),
        attention_dropout=model.attention_dropout,
        tie_word_embeddings=model.tie_embeddings,
        sampling_rate=audio.sampling_rate,
    )


def _paired(heads: int, head_dim: int) -> Op:
    """The rows of queries or keys: features 2i and 2i + 1 of each head, which turn together, to i and i + head_dim / 2;
    also those that do not turn."""
    order = torch.cat([torch.arange(0, head_dim, 2), torch.arange(1, head_dim, 2)])
    back = order.argsort()

    def permute(weight: Tensor, order: Tensor) -> Tensor:
        return weight.view(heads, head_dim, -1)[:, order].reshape(weight.shape)

    return Op(lambda x: permute(x, order), lambda x: permute(x, back), lambda shape: shape)


_FRAMED = Op(lambda x: x.transpose(1, 2).contiguous(), lambda x: x.transpose(1, 2).contiguous(),
             lambda shape: (shape[0], shape[2], shape[1]))  # fmt: skip


def _rows(ours: TranslatedCheckpoint) -> list[WeightName]:
    rows = [WeightName(ours.tables.target, "target.table.weight")]
    rows += [] if ours.tables.tied else [WeightName(ours.tables.output, "output.weight")]
    rows.append(WeightName("model.encoder.conv1.weight", "source.convolutions.layers.0.weight", _FRAMED))
    for end in ("weight", "bias"):
        rows.append(WeightName(f"model.encoder.groupnorm.{end}", f"source.convolutions.norms.0.{end}"))
        for i in (1, 2):
            rows.append(WeightName(f"model.encoder.conv{i + 1}.{end}", f"source.convolutions.layers.{i}.{end}"))
    rows.append(WeightName("model.encoder.layer_norm.weight", "encoder.final.weight"))
    rows.append(WeightName("model.decoder.norm.weight", "decoder.final.weight"))
    model = ours.model
    paired = _paired(model.num_heads, model.d_model // model.num_heads)
    for side, layers in (("encoder", model.encoder_layers), ("decoder", model.decoder_layers)):
        for i in range(layers):
            rows += _layer_rows(f"model.{side}.layers.{i}", f"{side}.layers.{i}", paired, cross=side == "decoder")
    return rows


def _layer_rows(theirs: str, ours: str, paired: Op, *, cross: bool) -> list[WeightName]:
    """The weights of a layer; a layer with attention `cross` the memory has gates too."""
    norms = {"input_layernorm": "mixer", "post_attention_layernorm": "cross" if cross else "ffn"}
    norms |= {"final_layernorm": "ffn"} if cross else {}
    rows = [WeightName(f"{theirs}.{a}.weight", f"{ours}.{b}_residual.norm.weight") for a, b in norms.items()]
    for a, b in (("self_attn", "mixer"), ("encoder_attn", "cross"))[: 1 + cross]:
        for name in "qkvo":
            op = paired if name in "qk" and b == "mixer" else SAME
            rows.append(WeightName(f"{theirs}.{a}.{name}_proj.weight", f"{ours}.{b}.{name}.weight", op))
    for end in ("weight", "bias"):
        rows.append(WeightName(f"{theirs}.mlp.fc2.{end}", f"{ours}.ffn.down.{end}"))
        for part, name in enumerate(("up", "gate")[: 1 + cross]):
            rows.append(WeightName(f"{theirs}.mlp.fc1.{end}", f"{ours}.ffn.{name}.{end}", part=(part, 1 + cross)))
    return rows


MOONSHINE = Family(
    "moonshine",
    "MoonshineForConditionalGeneration",
    MoonshineKeys,
    _ours,
    _theirs,
    _rows,
    TableKeys(_TABLE, _TABLE, _TABLE, "proj_out.weight"),
    prefix="model.",
    preprocessed=("sampling_rate", "feature_size", "do_normalize"),
    preprocessor={
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    },
)
