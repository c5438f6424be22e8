"""Augmentations of images: crop, shear, blur, thickness, elastic, erase.

    data:
      augment: [{shear: 0.3}, {elastic: {strength: 2}}, {blur: 1}, erase]

Each changes the pixels (C, H, W) of an image, uint8, as it is scaled for the model, and leaves its size. Where it reads
beyond the edges there is white.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.inputs.augmentation import Augmentation, generator
from antiphon.inputs.image_features import WHITE
from antiphon.registry import register
from antiphon.settings import Count, Range, Rate, Settings

Pixels = Annotated[float, Range(low=0, high=100)]


@register("augmentation", "crop")
@dataclass(frozen=True)
class Crop(Settings, Augmentation):
    """Cuts up to `share` of the height and the width off, at random edges, and scales the rest to the size before.

    With `sides: both`, the same share of both, so that the ratio stays.
    """

    inputs: ClassVar[str] = "image"

    share: Rate = 0.1  # the first field, so that {crop: 0.1} sets it
    sides: Literal["both", "height", "width"] = "both"

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        _, height, width = row.shape
        share = draw.uniform(0.0, self.share)
        cut = [0 if self.sides == other else share for other in ("width", "height")]
        rows, columns = (max(1, round(size * (1 - part))) for size, part in zip((height, width), cut, strict=True))
        top, left = draw.randint(0, height - rows), draw.randint(0, width - columns)
        rest = row[:, top : top + rows, left : left + columns].float()[None]
        scaled = functional.interpolate(rest, (height, width), mode="bilinear", antialias=True)
        return _as_bytes(scaled[0])


@register("augmentation", "shear")
@dataclass(frozen=True)
class Shear(Settings, Augmentation):
    """Slants an image: moves each row of pixels sideways, by up to `most` pixels for each row from the middle."""

    inputs: ClassVar[str] = "image"

    most: Annotated[float, Range(low=0, high=2)] = 0.2

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        _, height, width = row.shape
        right = draw.uniform(-self.most, self.most) * (torch.arange(height) - (height - 1) / 2)
        return warped(row, right=right[:, None].expand(-1, width), down=torch.zeros(height, width))


@register("augmentation", "blur")
@dataclass(frozen=True)
class Blur(Settings, Augmentation):
    """Blurs an image by a Gaussian with a standard deviation of up to `most` pixels."""

    inputs: ClassVar[str] = "image"

    most: Pixels = 1.0

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        deviation = draw.uniform(0.0, self.most)
        if deviation < 0.1:  # no pixel would change by a half
            return row
        radius = math.ceil(3 * deviation)
        weights = torch.exp(-torch.arange(-radius, radius + 1).square() / (2 * deviation**2))
        weights = weights / weights.sum()
        x = functional.pad(row.float()[:, None], (radius, radius, radius, radius), mode="replicate")
        x = functional.conv2d(x, weights.view(1, 1, 1, -1))
        return _as_bytes(functional.conv2d(x, weights.view(1, 1, -1, 1))[:, 0])


@register("augmentation", "thickness")
@dataclass(frozen=True)
class Thickness(Settings, Augmentation):
    """Makes dark strokes thicker or thinner, by up to `most` pixels at each edge: a dilation or an erosion, of which a
    part of a pixel is a part of its change."""

    inputs: ClassVar[str] = "image"

    most: Annotated[float, Range(low=0, high=10)] = 0.5

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        change = draw.uniform(-self.most, self.most)
        x, left = row.float() if change < 0 else -row.float(), abs(change)  # erosion of the dark widens the light
        while left > 0:
            wider = functional.max_pool2d(x[None], 3, stride=1, padding=1)[0]
            x = x + min(left, 1.0) * (wider - x)
            left -= 1.0
        return _as_bytes(x if change < 0 else -x)


@register("augmentation", "elastic")
@dataclass(frozen=True)
class Elastic(Settings, Augmentation):
    """Moves pixels by a smooth random field with a standard deviation of up to `strength` pixels (Simard et al. 2003,
    "Best Practices for Convolutional Neural Networks", section 2), drawn every `spacing` pixels."""

    inputs: ClassVar[str] = "image"

    strength: Pixels = 1.5
    spacing: Annotated[int, Range(low=2, high=1000)] = 12

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        _, height, width = row.shape
        strength = draw.uniform(0.0, self.strength)
        coarse = [math.ceil(size / self.spacing) + 1 for size in (height, width)]
        field = torch.randn(1, 2, *coarse, generator=generator(draw)) * strength
        right, down = functional.interpolate(field, (height, width), mode="bicubic", align_corners=True)[0]
        return warped(row, right=right, down=down)


@register("augmentation", "erase")
@dataclass(frozen=True)
class Erase(Settings, Augmentation):
    """Fills up to `count` rectangles with one random grey each, up to `share` of the height high and as wide (Zhong et
    al. 2020, "Random Erasing Data Augmentation")."""

    inputs: ClassVar[str] = "image"

    share: Annotated[float, Range(low=0, high=1, open_low=True)] = 0.3
    count: Count = 2

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        _, height, width = row.shape
        found, most = row.clone(), max(1, round(self.share * height))
        for _ in range(draw.randint(0, self.count)):
            rows, columns = draw.randint(1, most), min(draw.randint(1, most), width)
            top, left = draw.randint(0, height - rows), draw.randint(0, width - columns)
            found[:, top : top + rows, left : left + columns] = draw.randint(0, WHITE)
        return found


def warped(row: Tensor, *, right: Tensor, down: Tensor) -> Tensor:
    """Pixels (C, H, W), each read `right` and `down` (H, W) pixels further, between pixels bilinearly."""
    _, height, width = row.shape
    x, y = torch.arange(width) + right, torch.arange(height)[:, None] + down
    places = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)  # (H, W, 2), from -1 to 1
    ink = WHITE - row.float()  # beyond the edges there is none
    found = functional.grid_sample(ink[None], places[None], mode="bilinear", align_corners=False)
    return _as_bytes(WHITE - found[0])


def _as_bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, WHITE).to(torch.uint8)
