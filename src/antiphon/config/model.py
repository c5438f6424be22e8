"""Settings of the network: presets, shape and kinds of attention; or the pretrained model to start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from antiphon.config.family import FamilyConfig
from antiphon.config.image import ImageConfig
from antiphon.config.inputs import TEXT, InputSettings, input_settings
from antiphon.registry import nearest
from antiphon.settings import (
    Count,
    CountOrZero,
    Positive,
    Range,
    Rate,
    SettingError,
    Settings,
    build,
    hints,
    inside,
    require,
    show,
)

Role = Literal["encoder", "decoder", "cross"]  # where an attention stands: the fields of AttentionConfig
ROLES: tuple[Role, ...] = get_args(Role)

_PAPER = {
    "activation": "relu", "norm": "layer", "norm_placement": "post", "positions": "sinusoidal", "bias": True,
    "tie_embeddings": True, "encoder_layers": 6, "decoder_layers": 6, "dropout": 0.1,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    # Vaswani et al. 2017, "Attention Is All You Need", table 3, rows "base" and "big"
    "base": {**_PAPER, "d_model": 512, "num_heads": 8, "ffn_dim": 2048},
    "big": {**_PAPER, "d_model": 1024, "num_heads": 16, "ffn_dim": 4096, "dropout": 0.3},
    "small": {
        **_PAPER, "d_model": 256, "num_heads": 4, "ffn_dim": 1024, "encoder_layers": 3, "decoder_layers": 3,
        "norm_placement": "pre",
    },
    # Kasai et al. 2021, "Deep Encoder, Shallow Decoder": the decoder runs once a token, the encoder once a text
    "student": {
        **_PAPER, "d_model": 256, "num_heads": 4, "ffn_dim": 1024, "encoder_layers": 6, "decoder_layers": 2,
        "norm_placement": "pre",
    },
    "tiny": {
        **_PAPER, "d_model": 128, "num_heads": 4, "ffn_dim": 384, "encoder_layers": 2, "decoder_layers": 2,
        "activation": "swiglu", "norm": "rms", "norm_placement": "pre", "positions": "rotary", "bias": False,
    },
}  # fmt: skip
# Far above any real model, and low enough that a hostile file is an error before memory is allocated for it.
_MAX_SIZES = {
    "d_model": 2**16, "encoder_layers": 256, "decoder_layers": 256, "num_heads": 1024, "num_kv_heads": 1024,
    "head_dim": 2**13, "ffn_dim": 2**18, "max_length": 2**20,
}  # fmt: skip
_FROM_PRESET: Any = None  # default of fields that the preset fills in; never the value in a finished ModelConfig


@dataclass(frozen=True)
class ModelConfig(Settings):
    preset: str | None = "small"
    """The defaults of the other fields: tiny, small, student (6+2 layers of small), base or big (as in the Transformer
    paper)."""
    d_model: Count = _FROM_PRESET
    """Width of embeddings and hidden states."""
    encoder_layers: CountOrZero = _FROM_PRESET
    """Layers of the encoder."""
    decoder_layers: Count = _FROM_PRESET
    """Layers of the decoder."""
    num_heads: Count = _FROM_PRESET
    """Query heads of each attention."""
    num_kv_heads: Count | None = None
    """Key and value heads, shared by groups of query heads (grouped-query attention); none: as many as `num_heads`."""
    head_dim: Count | None = None
    """Width of a head; none: `d_model` / `num_heads`."""
    ffn_dim: Count = _FROM_PRESET
    """Inner width of the feed-forward layers."""
    activation: Literal["relu", "gelu", "silu", "geglu", "swiglu"] = _FROM_PRESET
    """Activation of the feed-forward layers; geglu and swiglu are gated."""
    norm: Literal["layer", "rms"] = _FROM_PRESET
    """LayerNorm or RMSNorm."""
    norm_placement: Literal["pre", "post", "sandwich"] = _FROM_PRESET
    """pre: before each block, with a final norm; post: after the residual sum; sandwich: before and after each
    block."""
    final_norm: bool | None = None
    """A norm after the last layer of encoder and decoder; none: unless `norm_placement` is post."""
    norm_eps: Annotated[float, Range(low=0, high=1, open_low=True)] | None = None
    """What the norms add to the variance; none: 1e-5 (layer), 1e-6 (rms)."""
    positions: Literal["sinusoidal", "learned", "rotary", "relative", "alibi", "none"] = _FROM_PRESET
    """Position encoding; relative (T5) and alibi add that rule to self-attention."""
    rotary_base: Positive | None = None
    """Base of the frequencies of rotary positions; none: 10000."""
    bias: bool = _FROM_PRESET
    """Biases in linear layers and norms."""
    tie_embeddings: bool = _FROM_PRESET
    """Share the weights of target embedding and output projection, and of the source embedding if the tokenizer is
    shared."""
    embedding_scale: Positive | None = None
    """Factor of the token embeddings; none: sqrt(d_model)."""
    dropout: Rate = _FROM_PRESET
    """Dropout of embeddings and of each block's output."""
    attention_dropout: Rate = 0.0
    """Dropout of attention weights."""
    activation_dropout: Rate = 0.0
    """Dropout in the feed-forward layers, after the activation."""
    layer_drop: Rate = 0.0
    """Probability that a layer is skipped in training."""
    word_dropout: Rate = 0.0
    """Probability that a token's whole embedding is zero in training, on either side."""
    max_length: Count = 1024
    """Longest sequence on either side, in tokens, end included."""
    attention_scale: Positive | None = None
    """Factor of the attention scores; none: 1 / sqrt(head_dim)."""
    output_cap: Positive | None = None
    """Bound of the output logits, which become cap * tanh(logits / cap); none: no bound."""
    output_bias: bool = False
    """A learned bias of the output logits."""
    ctc: bool = False
    """A CTC head on the encoder's output beside the decoder, for sources in the order of their targets (speech, lines
    of text); see `training.ctc_weight` and `generation.ctc_weight`."""
    input: object = TEXT
    """What sources are: text, audio or image; the last two with settings too, for example {image: {height: 48}}."""
    family: FamilyConfig | None = None
    """Further settings of a published checkpoint: only in model folders, never in a recipe."""

    def __post_init__(self) -> None:
        preset = str(self.preset or "small")
        if preset not in PRESETS:
            problem = f"must be one of {', '.join(PRESETS)}, but is {show(preset)}"
            raise SettingError(("preset",), problem, hint=nearest(preset, PRESETS))
        object.__setattr__(self, "preset", preset)
        for name, value in PRESETS[preset].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()

    @property
    def input_settings(self) -> InputSettings | None:
        """The settings of sources that are not text; None for text."""
        with inside("input"):
            return input_settings(self.input)

    @property
    def encoder_positions(self) -> str:
        """The position encoding of the encoder: that of images, if they have their own."""
        settings = self.input_settings
        return (isinstance(settings, ImageConfig) and settings.positions) or self.positions

    def check(self) -> None:
        rotary = "rotary" in (self.positions, self.encoder_positions)  # SettingError for an unknown `input`
        for name, most in _MAX_SIZES.items():
            value = getattr(self, name)
            require(value is None or value <= most, name, f"must be at most {most}, but is {show(value)}")
        heads, groups = self.num_heads, self.num_kv_heads or self.num_heads
        require(heads % groups == 0, "num_kv_heads", f"must divide `num_heads` ({heads}), but is {groups}")
        whole = self.head_dim is not None or self.d_model % heads == 0
        problem = f"must be a multiple of `num_heads` ({heads}), but is {self.d_model}"
        require(whole, "d_model", problem, "Change it, or set `head_dim`.")
        if self.family is not None:
            self.family.check_decoder(d_model=self.d_model, heads=heads, groups=self.num_kv_heads)
        width = self.head_dim or self.d_model // heads
        grid = self.encoder_positions == "rotary" and isinstance(self.input_settings, ImageConfig)
        problem = f"must be a multiple of 4 for rotary positions of images, but is {width}"
        require(not grid or width % 4 == 0, "head_dim", problem)
        paired = not rotary or width % 2 == 0
        require(paired, "head_dim", f"must be even for rotary positions, but is {width}")
        turned = rotary or self.rotary_base is None
        problem = f"must be left out without `positions: rotary`, but is {self.rotary_base}"
        require(turned, "rotary_base", problem)


@dataclass(frozen=True)
class BaseConfig(Settings):
    """`model: {base: FOLDER}`: the network, its tokenizers and its weights are those of a saved model."""

    base: str
    """The run or model folder to start from: its shape, attention, tokenizers and weights."""
    dropout: Rate | None = None
    """Dropout of embeddings and of each block's output; none: the base's, here and below."""
    attention_dropout: Rate | None = None
    """Dropout of attention weights."""
    activation_dropout: Rate | None = None
    """Dropout in the feed-forward layers, after the activation."""
    layer_drop: Rate | None = None
    """Probability that a layer is skipped in training."""
    word_dropout: Rate | None = None
    """Probability that a token's whole embedding is zero in training, on either side."""
    max_length: Count | None = None
    """Longest sequence on either side; cannot be changed for learned positions."""
    ctc: bool = False
    """A CTC head on the encoder's output, new if the base has none; false: only if the base has one."""

    @property
    def changes(self) -> dict[str, float | int]:
        """The settings of a ModelConfig that replace those of the base."""
        kept = ("base",) if self.ctc else ("base", "ctc")
        return {name: value for name, value in vars(self).items() if name not in kept and value is not None}


def beside_base(mapping: Mapping[str, object]) -> BaseConfig:
    """Read `model` with a `base`; SettingError for a setting that only a new network can have."""
    for name in mapping:
        new = name in hints(ModelConfig) and name not in hints(BaseConfig)
        problem = f"must be left out beside `model.base`, whose network has its own, but is {show(mapping[name])}"
        require(not new, name, problem)
    return build(BaseConfig, mapping)


@dataclass(frozen=True)
class AttentionConfig(Settings):
    encoder: object = "full"
    """The encoder's self-attention: a name, {name: settings}, {all: [...]}, or a list that alternates over layers."""
    decoder: object = "full"
    """The decoder's self-attention, in the same form."""
    cross: object = "full"
    """The decoder's cross-attention, in the same form."""
    backend: Literal["auto", "eager", "sdpa", "blocks", "flex", "varlen"] = "auto"
    """The implementation of attention; auto: the fastest by measurement; falls back to eager if not applicable."""
