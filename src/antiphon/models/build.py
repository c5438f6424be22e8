"""Builds a network from `ModelConfig` and `AttentionConfig`.

    network = build_network(config.model, config.attention, source_vocab=8000, target_vocab=8000, shared=True)

The attention of a role is an entry for `build_rule` (attentions.py), or a list of entries that alternates over the
layers.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.config.vision import VisionConfig
from antiphon.errors import ConfigError
from antiphon.inputs import input_kind
from antiphon.inputs.embeddings import absolute_positions
from antiphon.models.attentions import build_rule
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, Encoder, Shape
from antiphon.models.vision import ImageTextEmbedding, VisionTower
from antiphon.nn.attention import Attention
from antiphon.nn.embedding import Embedding, OwnVector
from antiphon.nn.layers import norm
from antiphon.nn.mixers import Mixer
from antiphon.nn.noise import Noise
from antiphon.nn.positions import ROTARY_BASE
from antiphon.nn.rules import RotaryPositions, ScoreRule, for_layer, parts_of

ADDED_RULES = ("relative", "alibi")  # values of `positions` that are score rules of self-attention
_PLAIN = FamilyConfig(name="", pad_id=0, start_id=0, end_id=0)  # the settings of a network without a family


def build_network(
    model: ModelConfig,
    attention: AttentionConfig,
    *,
    source_vocab: int,
    target_vocab: int,
    shared: bool,
    seed: int = 0,
    folder: Path | None = None,
    allow_import: bool = True,
    warn: bool = True,
) -> EncoderDecoder:
    """A network with new weights, initialized by `seed`. `shared`: source and target share one embedding table.

    `folder` is searched first for `module:Name`. `warn`: warn of settings of the model that a mixer does not support.
    """
    noise, shapes = Noise(), _shapes(model)
    family, kind = model.family or _PLAIN, input_kind(model.family, model.input_settings)
    build = _MixerBuilder(model, backend=attention.backend, folder=folder, allow_import=allow_import, warn=warn)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(
            build(attention.encoder, "encoder", model.encoder_layers),
            shape=shapes[0],
            noise=noise,
            project_to=shapes[1].d_model if family.memory_projection else None,
        )
        decoder = Decoder(
            build(attention.decoder, "decoder", model.decoder_layers),
            build(attention.cross, "cross", model.decoder_layers),
            shape=shapes[1],
            noise=noise,
        )
        widths = [shape.d_model for shape in shapes]
        tables = [Embedding(size, width) for size, width in zip((source_vocab, target_vocab), widths, strict=True)]
        source, target = (tables[1], tables[1]) if shared else tables
        output = target if model.tie_embeddings else Embedding(target_vocab, widths[1])
        own = _own_vectors(family, widths, one=shared and model.tie_embeddings)
        front = partial(_front, model, noise)
        return EncoderDecoder(
            kind.embedding(model, lambda: front(source, own[0], shapes[0], vision=family.vision), noise),
            encoder,
            front(target, own[1], shapes[1]),
            decoder,
            output,
            max_length=model.max_length,
            noise=noise,
            output_scale=widths[1] ** -0.5 if family.output_scale else 1.0,
            output_bias=family.output_bias,
            learned_output_bias=model.output_bias,
            output_cap=model.output_cap,
            ctc=model.ctc,
        )


class _MixerBuilder:
    """Builds the mixers of a stack, one for each layer."""

    def __init__(
        self, model: ModelConfig, *, backend: str, folder: Path | None, allow_import: bool, warn: bool
    ) -> None:
        self.model, self.backend, self.folder, self.allow_import = model, backend, folder, allow_import
        self.warn = warn

    def __call__(self, entry: object, role: str, layers: int) -> list[Mixer]:
        entries = list(entry) if isinstance(entry, list) else [entry]
        if not entries:
            raise ConfigError(f"`attention.{role}` must name at least one attention, but is an empty list.")
        parts = [build_rule(spec, folder=self.folder, allow_import=self.allow_import) for spec in entries]
        if self.warn:
            for line in dict.fromkeys(ignored(part, self.model, role) for part in parts if isinstance(part, Mixer)):
                if line:
                    warnings.warn(line, stacklevel=3)
        added = self._added(role)
        if self.model.positions == "rotary" and any(_turns(part) for part in parts):
            raise ConfigError(
                f"rotary positions must be set once, but are in `attention.{role}` and in `model.positions`. Write "
                "`positions: none`, or leave out the rule `rotary`."
            )
        # Layers with the same entry share one rule object, with its parameters and its mask.
        rules = [
            (added & part if added is not None else part) if isinstance(part, ScoreRule) else part for part in parts
        ]
        return [self._mixer(rules[i % len(rules)], role) for i in range(layers)]

    def _mixer(self, part: ScoreRule | Mixer, role: str) -> Mixer:
        model, family = self.model, self.model.family or _PLAIN
        groups = (role != "encoder" and family.decoder_kv_heads) or model.num_kv_heads
        base, rotary = model.rotary_base or ROTARY_BASE, self._positions(role) == "rotary"
        if isinstance(part, Mixer):
            mixer: Mixer = copy.deepcopy(part)
            mixer.num_kv_heads, mixer.attention_scale = groups, model.attention_scale
            mixer.rotary_positions, mixer.rotary_base = rotary, base
            if mixer.num_kv_heads and "num_kv_heads" not in mixer.takes:
                raise ConfigError(
                    f"`model.num_kv_heads` must be left out with `{type(mixer).__name__}`, which has no keys to share, "
                    f"but is {mixer.num_kv_heads}."
                )
        else:
            mixer = Attention(
                for_layer(part),
                num_kv_heads=groups,
                rotary=rotary,
                rotary_base=base,
                rotary_width=family.rotary_width,
                scale=model.attention_scale,
                backend=self.backend,
                key_bias=family.key_bias,
                qkv_bias=role != "encoder" or family.encoder_qkv_bias,
            )
        projected = family.memory_projection or family.decoder_d_model in (None, model.d_model)
        if role == "cross" and not projected:
            if "memory_width" not in mixer.takes:
                raise ConfigError(
                    f"`{type(mixer).__name__}` must read a memory of the decoder's own width "
                    f"({family.decoder_d_model}), but the encoder's is {model.d_model}. Use a rule, such as `full`."
                )
            mixer.memory_width = model.d_model
        return mixer

    def _added(self, role: str) -> ScoreRule | None:
        positions = self._positions(role)
        if role == "cross" or positions not in ADDED_RULES:
            return None
        rule = build_rule(positions)
        assert isinstance(rule, ScoreRule)
        return rule

    def _positions(self, role: str) -> str:
        return self.model.encoder_positions if role == "encoder" else self.model.positions


def _turns(part: ScoreRule | Mixer) -> bool:
    """Whether a rule has rotary positions of its own."""
    return isinstance(part, ScoreRule) and any(isinstance(each, RotaryPositions) for each in parts_of(part))


def ignored(mixer: Mixer, model: ModelConfig, role: str) -> str:
    """One sentence that names the settings of the model without effect in `mixer`; "" if all have an effect."""
    found = []
    if model.attention_scale is not None and "attention_scale" not in mixer.takes:
        found.append(f"`model.attention_scale: {model.attention_scale}`")
    if model.attention_dropout and "attention_dropout" not in mixer.takes:
        found.append(f"`model.attention_dropout: {model.attention_dropout}`")
    positions = model.encoder_positions if role == "encoder" else model.positions
    rotary = positions == "rotary" and role != "cross" and "rotary" not in mixer.takes
    if rotary:
        found.append("`model.positions: rotary`")
    if not found:
        return ""
    remedy = " Use `positions: sinusoidal`, which all take." if rotary else ""
    return f"`{type(mixer).__name__}` of the {role} attention does not take {' and '.join(found)}.{remedy}"


def _shapes(model: ModelConfig) -> tuple[Shape, Shape]:
    """The shapes of the layers of encoder and decoder."""
    family = model.family or _PLAIN
    encoder = Shape(
        d_model=model.d_model,
        num_heads=model.num_heads,
        head_dim=model.head_dim or model.d_model // model.num_heads,
        ffn_dim=model.ffn_dim,
        activation=family.activation or model.activation,
        norm=model.norm,
        norm_eps=family.norm_eps or model.norm_eps,
        norm_placement=model.norm_placement,
        final_norm=model.final_norm,
        bias=model.bias,
        ffn_bias=family.ffn_bias,
        norm_bias=family.norm_bias,
        dropout=model.dropout,
        attention_dropout=model.attention_dropout,
        activation_dropout=model.activation_dropout,
        layer_drop=model.layer_drop,
    )
    heads, width = family.decoder_heads or model.num_heads, family.decoder_d_model or model.d_model
    return encoder, replace(
        encoder,
        d_model=width,
        num_heads=heads,
        head_dim=model.head_dim or width // heads,
        ffn_dim=family.decoder_ffn_dim or model.ffn_dim,
        activation=family.decoder_activation or encoder.activation,
        norm_eps=family.decoder_norm_eps or encoder.norm_eps,
        norm_placement=family.decoder_norm_placement or encoder.norm_placement,
    )


def _own_vectors(family: FamilyConfig, widths: list[int], *, one: bool) -> tuple[OwnVector | None, OwnVector | None]:
    """The vectors of the id of source and target that is not scaled; `one`: the same for both."""
    if family.unscaled_id is None:
        return None, None
    target = OwnVector(family.unscaled_id, widths[1])
    return target if one else OwnVector(family.unscaled_id, widths[0]), target


def _front(
    model: ModelConfig,
    noise: Noise,
    table: nn.Embedding,
    own: OwnVector | None,
    shape: Shape,
    *,
    vision: VisionConfig | None = None,
) -> InputEmbedding:
    """The embedding of ids; with the settings `vision`, of ids and images."""
    family, width = model.family or _PLAIN, table.embedding_dim
    positions = absolute_positions(model, width, max_length=model.max_length)
    settings: dict[str, Any] = {
        "scale": (model.embedding_scale or width**0.5) if family.embedding_scale else 1.0,
        "rounds": family.rounds_scale,
        "dropout": model.dropout,
        "noise": noise,
        "word_dropout": model.word_dropout,
        "norm": norm(model.norm, width, eps=shape.norm_eps) if family.embedding_norm else None,
        "own": own,
    }
    if vision is not None:
        return ImageTextEmbedding(table, positions, vision=VisionTower(vision, width, noise=noise), **settings)
    return InputEmbedding(table, positions, **settings)
