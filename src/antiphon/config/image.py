"""The settings of images as sources: `model.input` in a recipe, and in the `config.json` of a model folder.

    model: {input: image}
    model: {input: {image: {height: 48, front: convolutions}}}                       # lines of text, of any width
    model: {input: {image: {height: 224, width: 224, patch: 16, channels: 3}}}       # ViT

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from antiphon.settings import Count, Positive, Range, Settings, require

Side = Annotated[int, Range(low=1, high=2**14)]
Stride = Annotated[int, Range(low=1, high=8)]
ImagePositions = Literal["sinusoidal", "learned", "rotary", "none"]


@dataclass(frozen=True, kw_only=True)
class ImageConfig(Settings):
    """Sources are images: patches or convolutions (antiphon.inputs.image)."""

    channels: Literal[1, 3] = 1
    """1: grey, 3: colour."""
    height: Side | None = 48
    """Rows of pixels; an image of another height is scaled, in ratio; none: each image's own height."""
    width: Side | None = None
    """Columns of pixels; with `height` too, an image is scaled to fit into both; none: any width."""
    stretch: bool = False
    """Scale to `height` and `width` out of ratio; otherwise the rest of a fixed size is white."""
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """How images are scaled."""
    mean: tuple[float, ...] = (0.5,)
    """What is subtracted from pixels, which are from 0 (black) to 1: one number, or one for each channel."""
    std: tuple[Positive, ...] = (0.5,)
    """What they are divided by then."""
    front: Literal["patches", "convolutions"] = "patches"
    """patches: a vector for each square of pixels; convolutions: a vector for each few columns, or for each place
    (`fold_height: false`)."""
    patch: Annotated[int, Range(low=1, high=512)] = 8
    """Rows and columns of a patch; the last ones are filled with white."""
    prefix_tokens: Annotated[int, Range(low=0, high=2)] = 0
    """Learned vectors before the patches, as ViT has one (its class token) and DeiT two."""
    positions: ImagePositions | None = None
    """Positions of the encoder, in two dimensions unless the height is folded; none: as `model.positions`."""
    conv_channels: tuple[Count, ...] = (32, 64, 128)
    """Output channels of each convolution."""
    conv_strides: tuple[tuple[Stride, Stride], ...] = ((2, 2), (2, 2), (2, 1))
    """Strides of each convolution, over rows and columns of pixels."""
    fold_height: bool = True
    """Each vector of the convolutions contains the whole height of its columns, for lines of text; otherwise there is a
    vector for each place, with positions in two dimensions, for pictures."""

    def check(self) -> None:
        for name in ("mean", "std"):
            given = len(getattr(self, name))
            problem = f"must have one number, or one for each of the {self.channels} channels, but has {given}"
            require(given in (1, self.channels), name, problem)
        fixed = self.height is not None and self.width is not None
        require(not self.stretch or fixed, "stretch", "must be left out without `height` and `width`, but is true")
        if self.front == "patches":
            require(self.fold_height, "fold_height", "must be left out for `front: patches`, but is false")
            return
        require(self.height is not None, "height", "must be given for `front: convolutions`, but is empty")
        problem = "must be left out for `front: convolutions`, but is given"
        require(not self.prefix_tokens, "prefix_tokens", problem)
        layers, strides = len(self.conv_channels), len(self.conv_strides)
        require(layers > 0, "conv_channels", "must have at least one number, but has none")
        problem = f"must have a pair for each of the {layers} `conv_channels`, but has {strides}"
        require(layers == strides, "conv_strides", problem)
        most = max(self.conv_channels)
        require(most <= 2**13, "conv_channels", f"must be at most {2**13}, but one is {most}")
