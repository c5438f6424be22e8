"""The pixels of an image as features: scaled, with patches row by row, or column by column.

    image = scaled(image, settings)             # a PIL image -> a PIL image, of the height of the settings
    features = features_of(pixels(image), settings)     # (C, H, W) uint8 -> (L, P + 2) patches, or (W, C * H) columns

Shapes: C channels, H rows, W columns of pixels, L patches of P values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.config import ImageConfig

if TYPE_CHECKING:
    from PIL import Image

WHITE = 255


def scaled_size(width: int, height: int, settings: ImageConfig) -> tuple[int, int]:
    """The width and height to which an image is scaled."""
    if settings.stretch:
        assert settings.width is not None and settings.height is not None
        return settings.width, settings.height
    limits = [limit / side for limit, side in ((settings.width, width), (settings.height, height)) if limit is not None]
    factor = min(limits, default=1.0)
    return max(1, round(width * factor)), max(1, round(height * factor))


def full_size(width: int, height: int, settings: ImageConfig) -> tuple[int, int]:
    """The width and height of a scaled image with the white that is added at its right and lower edge: up to a fixed
    size, and to whole patches."""
    width, height = max(width, settings.width or 1), max(height, settings.height or 1)
    if settings.front == "convolutions":
        return width, height
    patch = settings.patch
    return math.ceil(width / patch) * patch, math.ceil(height / patch) * patch


def length_of(width: int, height: int, settings: ImageConfig) -> int:
    """The number of rows of the features of an image of `width` and `height`: its patches, or its columns."""
    width, height = full_size(*scaled_size(width, height, settings), settings)
    return width if settings.front == "convolutions" else (width // settings.patch) * (height // settings.patch)


def scaled(image: Image.Image, settings: ImageConfig) -> Image.Image:
    """`image`, scaled as `scaled_size` says."""
    from PIL import Image

    size = scaled_size(*image.size, settings)
    return image if size == image.size else image.resize(size, Image.Resampling[settings.resample.upper()])


def pixels(image: Image.Image) -> Tensor:
    """The pixels (C, H, W) of an image in mode L or RGB, uint8."""
    channels = len(image.getbands())
    values = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return values.view(image.height, image.width, channels).permute(2, 0, 1).contiguous()


def image_of(values: Tensor) -> Image.Image:
    """The inverse of `pixels`."""
    from PIL import Image

    channels, height, width = values.shape
    content = values.permute(1, 2, 0).contiguous().numpy().tobytes()
    return Image.frombytes("L" if channels == 1 else "RGB", (width, height), content)


def whole_pixels(values: Tensor, settings: ImageConfig) -> Tensor:
    """Scaled pixels (C, H, W) with the white that is added at the right and below."""
    _, height, width = values.shape
    right, below = full_size(width, height, settings)
    return functional.pad(values, (0, right - width, 0, below - height), value=WHITE)


def features_of(values: Tensor, settings: ImageConfig) -> Tensor:
    """The features of scaled pixels (C, H, W) uint8, float32: patches with their row and column, (L, C * p * p + 2),
    or columns (W, C * H)."""
    values = whole_pixels(values, settings)
    channels, below, right = values.shape
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (settings.mean, settings.std))
    x = (values.float() / WHITE - mean) / std
    if settings.front == "convolutions":
        return x.permute(2, 0, 1).flatten(1)  # (C, H, W) -> (W, C·H)
    size = settings.patch
    rows, columns = below // size, right // size
    x = x.view(channels, rows, size, columns, size).permute(1, 3, 0, 2, 4).reshape(rows * columns, -1)
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(-1, 2)
    return torch.cat([x, grid.float()], 1)
