"""The config.json of a TrOCR: a section for the encoder and one for the decoder, and preprocessor_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from antiphon.config import ImageConfig, ModelConfig
from antiphon.config.family import Id
from antiphon.errors import ModelError
from antiphon.models.families.fairseq import ACTIVATIONS
from antiphon.models.families.family import Keys, Layers, Size, Vocabulary, refuse_unless
from antiphon.settings import Positive, Range, Rate, Settings, require

_Side = Annotated[int, Range(low=1, high=2**14)]
Sides = _Side | tuple[_Side, _Side]
# The names of Pillow's filters, by their number in preprocessor_config.json.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
PREPROCESSED = (
    "do_resize", "size", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std",
    "do_center_crop", "crop_size",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImageEncoderKeys(Settings):
    """The keys that are read of a ViT or DeiT."""

    model_type: Literal["vit", "deit"]
    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: Rate = 0.0
    attention_probs_dropout_prob: Rate = 0.0
    layer_norm_eps: Annotated[float, Range(low=0, high=1, open_low=True)] = 1e-12
    image_size: Sides = 224
    patch_size: Sides = 16
    num_channels: Literal[1, 3] = 3
    qkv_bias: bool = True

    def check(self) -> None:
        problem = f"must be one of {', '.join(ACTIVATIONS)}, but is `{self.hidden_act:.40}`"
        require(self.hidden_act in ACTIVATIONS, "hidden_act", problem)
        patch, sides = pair(self.patch_size), pair(self.image_size)
        require(patch[0] == patch[1] <= 512, "patch_size", f"must be square, of at most 512 pixels, but is {patch}")
        problem = f"must be whole patches of {patch[0]} pixels, but is {sides}"
        require(all(side % patch[0] == 0 for side in sides), "image_size", problem)

    @classmethod
    def of(cls, model: ModelConfig, settings: ImageConfig, *, family: str, hidden_act: str) -> Self:
        """The keys of the encoder of `model`; Inexpressible for images that it does not read."""
        positions, height, width = model.encoder_positions, settings.height, settings.width
        fits = settings.front == "patches" and settings.stretch and positions == "learned"
        refuse_unless(fits, family, "patches of images that are stretched to a fixed size, with learned positions")
        assert height is not None and width is not None  # `stretch` needs both
        whole = height % settings.patch == 0 and width % settings.patch == 0
        refuse_unless(whole and settings.prefix_tokens > 0, family, "whole patches, and one or two `prefix_tokens`")
        assert model.family is not None
        return cls(
            model_type="vit" if settings.prefix_tokens == 1 else "deit",
            hidden_size=model.d_model,
            num_hidden_layers=model.encoder_layers,
            num_attention_heads=model.num_heads,
            intermediate_size=model.ffn_dim,
            hidden_act=hidden_act,
            hidden_dropout_prob=model.dropout,
            attention_probs_dropout_prob=model.attention_dropout,
            layer_norm_eps=model.family.norm_eps or 1e-5,
            image_size=(height, width),
            patch_size=settings.patch,
            num_channels=settings.channels,
            qkv_bias=model.family.encoder_qkv_bias,
        )


@dataclass(frozen=True, kw_only=True)
class DecoderKeys(Settings):
    """The keys that are read of a TrOCR decoder."""

    model_type: Literal["trocr"] = "trocr"
    is_decoder: bool = True
    add_cross_attention: bool = True
    vocab_size: Vocabulary
    d_model: Size = 1024
    decoder_layers: Layers = 12
    decoder_attention_heads: Size = 16
    decoder_ffn_dim: Size = 4096
    activation_function: str = "gelu"
    max_position_embeddings: Annotated[int, Range(low=1, high=2**20)] = 512
    dropout: Rate = 0.1
    attention_dropout: Rate = 0.0
    activation_dropout: Rate = 0.0
    decoder_layerdrop: Rate = 0.0
    scale_embedding: bool = False
    use_learned_position_embeddings: bool = True
    layernorm_embedding: bool = True
    cross_attention_hidden_size: Size | None = None
    tie_word_embeddings: bool = True
    pad_token_id: Id | None = None
    eos_token_id: Id | tuple[Id, ...] | None = None
    decoder_start_token_id: Id | None = None

    def check(self) -> None:
        problem = f"must be one of {', '.join(ACTIVATIONS)}, but is `{self.activation_function:.40}`"
        require(self.activation_function in ACTIVATIONS, "activation_function", problem)
        count = self.decoder_attention_heads
        problem = f"must be a multiple of `decoder_attention_heads` ({count}), but is {self.d_model}"
        require(self.d_model % count == 0, "d_model", problem)
        require(self.d_model % 2 == 0, "d_model", f"must be even, but is {self.d_model}")


@dataclass(frozen=True, kw_only=True)
class TrOCRKeys(Keys):
    """The keys that are read of a TrOCR's config.json and preprocessor_config.json."""

    encoder: ImageEncoderKeys
    decoder: DecoderKeys
    do_resize: bool = True
    size: object = None
    resample: Annotated[int, Range(low=0, high=3)] = 2
    do_rescale: bool = True
    rescale_factor: Positive = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, ...] = (0.5,)
    image_std: tuple[Positive, ...] = (0.5,)
    do_center_crop: bool = False
    crop_size: object = None

    def image_settings(self) -> dict[str, Any]:
        """The settings of ImageConfig; ModelError for a preprocessing that is not built."""
        encoder, (height, width) = self.encoder, pair(self.encoder.image_size)
        size = self.size if self.size is not None else {"height": height, "width": width}
        sides = (size.get("height"), size.get("width")) if isinstance(size, Mapping) else pair(size)
        cut = self.do_center_crop and self.crop_size not in (None, size)
        usual = self.do_resize and self.do_rescale and abs(self.rescale_factor * 255 - 1) < 1e-6 and not cut
        if sides != (height, width) or not usual:
            raise ModelError(
                f"preprocessor_config.json must scale images to {height} x {width} pixels, without cutting, and pixels "
                "to values up to 1, but does not. Use the file that belongs to the model."
            )
        return {
            "channels": encoder.num_channels,
            "height": height,
            "width": width,
            "stretch": True,
            "resample": _RESAMPLE[self.resample],
            "mean": list(self.image_mean) if self.do_normalize else [0.0],
            "std": list(self.image_std) if self.do_normalize else [1.0],
            "patch": pair(encoder.patch_size)[0],
            "prefix_tokens": 1 if encoder.model_type == "vit" else 2,
            "positions": "learned",
        }

    @staticmethod
    def preprocessing(settings: ImageConfig) -> dict[str, Any]:
        """The keys of preprocessor_config.json."""
        numbers = {name: number for number, name in _RESAMPLE.items()}
        return {
            "size": {"height": settings.height, "width": settings.width},
            "resample": numbers[settings.resample],
            "image_mean": _of_channels(settings.mean, settings.channels),
            "image_std": _of_channels(settings.std, settings.channels),
        }


def pair(value: Any) -> tuple[int, int]:
    """Rows and columns, of one number for both or of two."""
    return (value, value) if not isinstance(value, tuple | list) else (value[0], value[1])


def _of_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) == channels else values * channels
