"""The config.json of a T5Gemma 2: the keys of the section of each side, and the layers that they describe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from antiphon.config.vision import VisionConfig
from antiphon.models.families.family import Id, Keys, Layers, Size, Vocabulary, refuse_unless
from antiphon.models.families.gemma_keys import ACTIVATIONS, SLIDING, WHOLE, alternating, special_ids_of
from antiphon.settings import Positive, Range, Rate, Settings, require

# Base of the rotary positions of each kind of layer where config.json has none.
BASES = {SLIDING: 10_000.0, WHOLE: 1_000_000.0}
_PATTERN = 6  # by default every sixth layer sees all tokens


@dataclass(frozen=True, kw_only=True)
class TurnKeys(Settings):
    """The keys that are read of the rotary positions of one kind of layer."""

    rope_type: Literal["default", "linear"] = "default"
    rope_theta: Positive | None = None
    factor: Positive | None = None

    def check(self) -> None:
        given = self.rope_type != "linear" or self.factor is not None
        require(given, "factor", "must be given for `rope_type` linear, but is empty")

    @property
    def stretch(self) -> float:
        """What positions are divided by."""
        return self.factor if self.rope_type == "linear" and self.factor is not None else 1.0


@dataclass(frozen=True, kw_only=True)
class RopeOfKinds(Settings):
    """The keys that are read of `rope_parameters`: those of each kind of layer."""

    sliding_attention: TurnKeys | None = None
    full_attention: TurnKeys | None = None


@dataclass(frozen=True, kw_only=True)
class TextKeys(Settings):
    """The keys that are read of the section of the encoder's text, or of the decoder.

    `attn_logit_softcapping` is not read: the reference does not apply it.
    """

    vocab_size: Vocabulary = 262_208
    hidden_size: Size = 2304
    intermediate_size: Size = 9216
    num_hidden_layers: Layers = 26
    num_attention_heads: Size = 8
    num_key_value_heads: Size = 4
    head_dim: Annotated[int, Range(low=2, high=2**13)] = 256
    hidden_activation: str = "gelu_pytorch_tanh"
    max_position_embeddings: Annotated[int, Range(low=1, high=2**20)] = 131_072
    rms_norm_eps: Annotated[float, Range(low=0, high=1, open_low=True)] = 1e-6
    rope_parameters: RopeOfKinds | None = None
    rope_scaling: TurnKeys | None = None
    rope_theta: Positive | None = None
    rope_local_base_freq: Positive | None = None
    attention_bias: bool = False
    query_pre_attn_scalar: Annotated[int, Range(low=1, high=2**20)] = 256
    sliding_window: Annotated[int, Range(low=1, high=2**20)] | None = 4096
    sliding_window_pattern: Annotated[int, Range(low=1, high=256)] | None = None
    layer_types: tuple[Literal["sliding_attention", "full_attention"], ...] | None = None
    final_logit_softcapping: Positive | None = None
    pad_token_id: Id | None = 0
    bos_token_id: Id | None = 2
    eos_token_id: Id | tuple[Id, ...] | None = 1

    def check(self) -> None:
        known = self.hidden_activation in ACTIVATIONS
        problem = f"must be one of {', '.join(ACTIVATIONS)}, but is `{self.hidden_activation:.40}`"
        require(known, "hidden_activation", problem)
        require(not self.attention_bias, "attention_bias", "must be false, but is true: attention has no biases here")
        require(self.head_dim % 2 == 0, "head_dim", f"must be even for rotary positions, but is {self.head_dim}")
        fits = self.layer_types is None or len(self.layer_types) == self.num_hidden_layers
        require(fits, "layer_types", f"must have one entry a layer ({self.num_hidden_layers}), but has not")
        needed = self.sliding_window is not None or SLIDING not in self.kinds
        require(needed, "sliding_window", f"must be given for layers of `{SLIDING}`, but is empty")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each layer; by default every sixth one sees all tokens."""
        pattern = self.sliding_window_pattern or _PATTERN
        usual = ((WHOLE, SLIDING)[bool((i + 1) % pattern)] for i in range(self.num_hidden_layers))
        return self.layer_types or tuple(usual)

    def turns(self, kind: str) -> dict[str, object]:
        """The rule of the rotary positions of one kind of layer."""
        new: TurnKeys = getattr(self.rope_parameters or RopeOfKinds(), kind) or TurnKeys()
        old = self.rope_local_base_freq if kind == SLIDING else self.rope_theta
        stretch = new.stretch
        if self.rope_scaling is not None and kind == WHOLE:  # older files
            stretch = self.rope_scaling.stretch
        base = new.rope_theta or old or BASES[kind]
        return {"rotary": {"base": base, "factor": stretch}}

    def attention(self, *, both_sides: bool) -> object:
        """The entry of a recipe for these layers. `both_sides`: half of the window is on the right."""
        size = self.sliding_window or 1
        window: object = {"window": (size + 1) // 2, "right": size // 2 + 1} if both_sides else size
        norm = {"qk_norm": {"shared": True, "eps": self.rms_norm_eps}}
        rules: dict[str, object] = {
            SLIDING: {"all": [norm, {"window": window}, self.turns(SLIDING)]},
            WHOLE: {"all": [norm, self.turns(WHOLE)]},
        }
        return alternating([rules[kind] for kind in self.kinds])


def rules_of(entry: object, count: int, *, family: str) -> list[dict[str, Any]]:
    """The inverse of `TextKeys.attention`: for each layer its rules by name, in their order; Inexpressible for others.
    The settings of each are a mapping."""
    specs = entry if isinstance(entry, list) else [entry]
    return [_rules(specs[i % len(specs)], family) for i in range(count)]


_FIRST = {"window": "window", "rotary": "base"}  # the setting that a single value sets


def _rules(spec: object, family: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rule: Any
    for rule in spec.get("all", [spec]) if isinstance(spec, dict) else [spec]:
        name, settings = next(iter(rule.items())) if isinstance(rule, dict) and len(rule) == 1 else (rule, {})
        if name in _FIRST and not isinstance(settings, dict):
            settings = {_FIRST[name]: settings}
        found[str(name)] = settings
    whole = list(found) in (["qk_norm", "window", "rotary"], ["qk_norm", "rotary"])
    plain = whole and all(isinstance(each, dict) for each in found.values())
    shared = plain and found["qk_norm"].get("shared") is True
    what = "in each layer the rules `qk_norm` (with `shared`), `window` (or not) and `rotary`, in this order"
    refuse_unless(shared, family, what)
    return found


# The activations of the vision encoder in config.json.
VISION_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu", "silu": "silu"}


@dataclass(frozen=True, kw_only=True)
class VisionKeys(Settings):
    """The keys that are read of the vision encoder's section. Its head is not read: nothing uses it."""

    model_type: Literal["siglip_vision_model"] = "siglip_vision_model"
    hidden_size: Annotated[int, Range(low=1, high=2**16)] = 768
    intermediate_size: Annotated[int, Range(low=1, high=2**16)] = 3072
    num_hidden_layers: Layers = 12
    num_attention_heads: Annotated[int, Range(low=1, high=2**16)] = 12
    num_channels: Annotated[int, Range(low=1, high=4)] = 3
    image_size: Annotated[int, Range(low=1, high=2**13)] = 224
    patch_size: Annotated[int, Range(low=1, high=2**10)] = 16
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: Annotated[float, Range(low=0, high=1, open_low=True)] = 1e-6
    vision_use_head: bool = False

    def check(self) -> None:
        known = self.hidden_act in VISION_ACTIVATIONS
        problem = f"must be one of {', '.join(VISION_ACTIVATIONS)}, but is `{self.hidden_act:.40}`"
        require(known, "hidden_act", problem)


@dataclass(frozen=True, kw_only=True)
class EncoderKeys(Settings):
    """The keys that are read of the encoder's section."""

    text_config: TextKeys = field(default_factory=TextKeys)
    vision_config: VisionKeys = field(default_factory=VisionKeys)
    mm_tokens_per_image: Annotated[int, Range(low=1, high=2**16)] = 256
    boi_token_index: Id = 255_999
    eoi_token_index: Id = 256_000


def vision_keys(vision: VisionConfig) -> VisionKeys:
    """The inverse of `T5Gemma2Keys.vision`, for its section."""
    activations = {ours: theirs for theirs, ours in VISION_ACTIVATIONS.items()}
    return VisionKeys(
        hidden_size=vision.d_model,
        intermediate_size=vision.ffn_dim,
        num_hidden_layers=vision.layers,
        num_attention_heads=vision.num_heads,
        num_channels=vision.channels,
        image_size=vision.image_size,
        patch_size=vision.patch,
        hidden_act=activations[vision.activation],
        layer_norm_eps=vision.norm_eps,
    )


# Keys that must be equal in both stacks.
AGREED = ("hidden_size", "vocab_size", "head_dim", "hidden_activation", "rms_norm_eps", "query_pre_attn_scalar")


@dataclass(frozen=True, kw_only=True)
class T5Gemma2Keys(Keys):
    """The keys that are read of a T5Gemma 2's config.json."""

    encoder: EncoderKeys = field(default_factory=EncoderKeys)
    decoder: TextKeys = field(default_factory=TextKeys)
    dropout_rate: Rate = 0.0
    attention_dropout: Rate = 0.0
    tie_word_embeddings: bool = True
    vocab_size: Vocabulary | None = None
    image_token_index: Id = 256_001

    def check(self) -> None:
        for name in AGREED:
            one, other = getattr(self.encoder.text_config, name), getattr(self.decoder, name)
            require(one == other, f"decoder.{name}", f"must be that of the encoder's text ({one}), but is {other}")

    def vision(self) -> VisionConfig:
        """The settings of images."""
        encoder, keys = self.encoder, self.encoder.vision_config
        return VisionConfig(
            d_model=keys.hidden_size,
            layers=keys.num_hidden_layers,
            num_heads=keys.num_attention_heads,
            ffn_dim=keys.intermediate_size,
            image_size=keys.image_size,
            patch=keys.patch_size,
            channels=keys.num_channels,
            tokens=encoder.mm_tokens_per_image,
            activation=VISION_ACTIVATIONS[keys.hidden_act],  # type: ignore[arg-type]
            norm_eps=keys.layer_norm_eps,
            attention_dropout=self.attention_dropout,
            image_id=self.image_token_index,
            begin_id=encoder.boi_token_index,
            end_id=encoder.eoi_token_index,
        )

    def special_ids(self) -> dict[str, Any]:
        return special_ids_of(self, self.decoder)
