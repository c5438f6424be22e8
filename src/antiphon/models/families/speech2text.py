"""Speech2Text (Wang et al. 2020, "fairseq S2T"): from speech to text, in one language or another.

Kaldi's filter banks, each band scaled over the clip, pass convolutions with gated linear units and a stride of two
each; then a model of the fairseq line, pre-norm, with sinusoids whose first position is number 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from antiphon.config import AttentionConfig, AudioConfig
from antiphon.errors import ModelError
from antiphon.models.families.fairseq import IGNORED, LineKeys, check_sinusoids, common_keys, common_model, common_rows
from antiphon.models.families.family import Family, TableKeys, Tables, TranslatedCheckpoint, WeightName, refuse_unless
from antiphon.models.folders.stored import WeightFiles
from antiphon.settings import Range, require

_STRIDE, _WINDOW, _HOP = 2, 400, 160  # fixed there, at any sampling rate
_TABLE = "model.decoder.embed_tokens.weight"
_MODEL = {"positions": "sinusoidal", "norm_placement": "pre"}
_FAMILY = {"sinusoids": "closed_halves", "position_offset": 2, "shared_tables": True}
_PREPROCESSED = (
    "feature_size", "num_mel_bins", "sampling_rate", "do_ceptral_normalize", "normalize_means", "normalize_vars",
    "dither",
)  # fmt: skip
_Bins = Annotated[int, Range(low=1, high=1024)]


@dataclass(frozen=True, kw_only=True)
class Speech2TextKeys(LineKeys):
    """The keys that are read of a Speech2Text's config.json and preprocessor_config.json; the defaults are the
    library's."""

    vocab_size: Annotated[int, Range(low=1, high=2**24)] = 10000
    d_model: Annotated[int, Range(low=1, high=2**16)] = 256
    encoder_layers: Annotated[int, Range(low=0, high=256)] = 12
    decoder_layers: Annotated[int, Range(low=0, high=256)] = 6
    encoder_attention_heads: Annotated[int, Range(low=1, high=1024)] = 4
    decoder_attention_heads: Annotated[int, Range(low=1, high=1024)] = 4
    encoder_ffn_dim: Annotated[int, Range(low=1, high=2**18)] = 2048
    decoder_ffn_dim: Annotated[int, Range(low=1, high=2**18)] = 2048
    activation_function: str = "relu"
    scale_embedding: bool = True
    max_source_positions: Annotated[int, Range(low=1, high=2**20)] = 6000
    max_target_positions: Annotated[int, Range(low=1, high=2**20)] = 1024
    num_conv_layers: Annotated[int, Range(low=1, high=64)] = 2
    conv_kernel_sizes: tuple[Annotated[int, Range(low=1, high=1023)], ...] = (5, 5)
    conv_channels: Annotated[int, Range(low=2, high=2**17)] = 1024
    input_feat_per_channel: _Bins = 80
    input_channels: Annotated[int, Range(low=1, high=1)] = 1
    feature_size: _Bins | None = None
    num_mel_bins: _Bins | None = None
    sampling_rate: Annotated[int, Range(low=1000, high=2**20)] = 16000
    do_ceptral_normalize: bool = True
    normalize_means: bool = True
    normalize_vars: bool = True
    dither: Annotated[float, Range(low=0, high=0)] = 0.0

    def check(self) -> None:
        super().check()
        problem = f"must be 1, behind which the library counts positions, but is {self.pad_token_id}"
        require(self.pad_token_id in (None, 1), "pad_token_id", problem)
        odd = all(kernel % 2 for kernel in self.conv_kernel_sizes) and bool(self.conv_kernel_sizes)
        require(odd, "conv_kernel_sizes", f"must be odd numbers, but are {list(self.conv_kernel_sizes)}")
        layers = len(self.conv_kernel_sizes)
        problem = f"must be {layers}, as many as `conv_kernel_sizes`, but is {self.num_conv_layers}"
        require(self.num_conv_layers == layers, "num_conv_layers", problem)
        problem = f"must be even, for gated linear units, but is {self.conv_channels}"
        require(self.conv_channels % 2 == 0, "conv_channels", problem)
        whole = not self.do_ceptral_normalize or self.normalize_means == self.normalize_vars
        require(whole, "normalize_vars", "must be as `normalize_means`, but is not")

    def audio(self) -> dict[str, Any]:
        """The settings of `AudioConfig`; ModelError if the files do not match."""
        for name in ("feature_size", "num_mel_bins"):
            if getattr(self, name) not in (None, self.input_feat_per_channel):
                raise ModelError(
                    f"`{name}` in preprocessor_config.json must be `input_feat_per_channel` "
                    f"({self.input_feat_per_channel}), but is {getattr(self, name)}. Use the file that belongs to the "
                    "model."
                )
        return {
            "sampling_rate": self.sampling_rate,
            "features": "filter_banks",
            "mel_bins": self.input_feat_per_channel,
            "window": _WINDOW,
            "hop": _HOP,
            "normalize": self.do_ceptral_normalize and self.normalize_means,
            "seconds": (_WINDOW + (self.max_source_positions - 1) * _HOP) / self.sampling_rate,
            "kernels": list(self.conv_kernel_sizes),
            "strides": [_STRIDE] * len(self.conv_kernel_sizes),
            "channels": [self.conv_channels // 2] * (len(self.conv_kernel_sizes) - 1),
            "activations": ["glu"],
            "scale": self.scale_embedding,
        }


def _ours(keys: Speech2TextKeys, stored: WeightFiles, tables: Tables) -> TranslatedCheckpoint:
    whole = {**_MODEL, "max_length": keys.max_target_positions, "input": {"audio": keys.audio()}}
    made = common_model(keys, stored, tables, family={"name": "speech_to_text", **_FAMILY}, model=whole)
    check_sinusoids(stored, made)
    return TranslatedCheckpoint(made, AttentionConfig(), tables, keys.vocab_size, keys.vocab_size)


def _theirs(ours: TranslatedCheckpoint) -> Speech2TextKeys:
    audio, name = ours.model.input_settings, "speech_to_text"
    refuse_unless(isinstance(audio, AudioConfig), name, "sources of sound")
    assert isinstance(audio, AudioConfig)
    refuse_unless(audio.features == "filter_banks", name, "filter banks as features")
    layers = len(audio.kernels)
    inner = audio.channels or (ours.model.d_model,) * (layers - 1)
    alike = {*audio.strides} == {_STRIDE} and {*audio.activations} == {"glu"} and audio.padding and len({*inner}) < 2
    refuse_unless(alike, name, "convolutions with gated linear units, strides of 2 and one number of channels")
    framed = (audio.window_samples, audio.hop_samples) == (_WINDOW, _HOP)
    refuse_unless(framed, name, f"frames of {_WINDOW} samples, {_HOP} apart")
    scaled = audio.scale == ours.family.embedding_scale
    refuse_unless(scaled, name, "one scale for sound and text")
    fixed = {"embedding_norm": False, "output_bias": False, "key_bias": True, "speech": None, "input": ours.model.input}
    return Speech2TextKeys(
        **common_keys(name, ours, {**_MODEL, **_FAMILY, **fixed}),
        max_source_positions=audio.frames(audio.most_samples),
        max_target_positions=ours.model.max_length,
        num_conv_layers=layers,
        conv_kernel_sizes=audio.kernels,
        conv_channels=2 * inner[0] if inner else 2,
        input_feat_per_channel=audio.mel_bins,
        feature_size=audio.mel_bins,
        num_mel_bins=audio.mel_bins,
        sampling_rate=audio.sampling_rate,
        do_ceptral_normalize=audio.normalize,
    )


def _rows(ours: TranslatedCheckpoint) -> list[WeightName]:
    rows = [row for row in common_rows(ours) if not row.ours.startswith("source.")]
    rows += [WeightName(ours.tables.target, "target.table.weight")] if ours.tables.shared else []
    audio = ours.model.input_settings
    assert isinstance(audio, AudioConfig)
    for i in range(len(audio.kernels)):
        for end in ("weight", "bias"):
            key = f"model.encoder.conv.conv_layers.{i}.{end}"
            rows.append(WeightName(key, f"source.convolutions.layers.{i}.{end}"))
    return rows


SPEECH2TEXT = Family(
    "speech_to_text",
    "Speech2TextForConditionalGeneration",
    Speech2TextKeys,
    _ours,
    _theirs,
    _rows,
    TableKeys(_TABLE, _TABLE, _TABLE, "lm_head.weight"),
    ignored=IGNORED | {f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder")},
    prefix="model.",
    preprocessed=_PREPROCESSED,
    preprocessor={
        "feature_extractor_type": "Speech2TextFeatureExtractor",
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    },
)
