"""Images as input: patches of them, or their columns of pixels (docs/images.md).

    kind = ImageInput(ImageConfig(height=48))
    rows = kind.read(["line.png", pixels], "texts")                             # pixels (C, H, W) of each, uint8
    kind.features(rows[0])                                                      # (L, P + 2)

A row has the height and width of the settings, so that augmentations change what the network reads.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Self

import torch
from torch import Tensor, nn

from antiphon.config import FamilyConfig, GenerationConfig, ImageConfig, InputSettings, ModelConfig
from antiphon.errors import ConfigError, DataError
from antiphon.inputs.embeddings import FeatureEmbedding, SourceEmbedding
from antiphon.inputs.image_features import (
    features_of,
    image_of,
    length_of,
    pixels,
    scaled,
    scaled_size,
    whole_pixels,
)
from antiphon.inputs.images.files import MAX_PIXELS, image_size, opaque, pillow, read_image
from antiphon.inputs.kind import InputKind, Source, SourceParts
from antiphon.inputs.limits import BoundedNetwork
from antiphon.inputs.patch_embedding import PatchEmbedding
from antiphon.inputs.paths import file_of
from antiphon.inputs.pictures import Box, SourcePicture, of_columns
from antiphon.nn.grid_positions import GridLearned, GridSinusoidal
from antiphon.nn.image_convolutions import ImageConvolutions
from antiphon.nn.noise import Noise
from antiphon.nn.positions import Learned, NoPositions, Sinusoidal
from antiphon.settings import show

REMEDY = "Give the path of an image, a PIL image, or pixels (H, W) or (C, H, W): bytes, or floats from 0 to 1."


@dataclass(frozen=True)
class ImageInput(InputKind[Tensor]):
    """Images. Rows are pixels (C, H, W), uint8; the network reads patches (L, P + 2) or columns (W, C * H)."""

    settings: ImageConfig

    has_tokens: ClassVar[bool] = False

    def __repr__(self) -> str:
        settings = self.settings
        size = f"{settings.height or 'any'} x {settings.width or 'any'} pixels"
        front = f"patches of {settings.patch}" if settings.front == "patches" else "convolutions"
        return f"ImageInput({size}, {'grey' if settings.channels == 1 else 'colour'}, {front})"

    @classmethod
    def of(cls, family: FamilyConfig | None, settings: InputSettings | None) -> Self | None:
        return cls(settings) if isinstance(settings, ImageConfig) else None

    def embedding(self, model: ModelConfig, ids: Callable[[], SourceEmbedding], noise: Noise) -> SourceEmbedding:
        settings, width, most = self.settings, model.d_model, self._most(model.max_length)
        if settings.front == "patches":
            return PatchEmbedding(
                settings.channels * settings.patch**2,
                width,
                _patch_positions(model, settings),
                most=most,
                prefix_tokens=settings.prefix_tokens,
                dropout=model.dropout,
                noise=noise,
            )
        assert settings.height is not None
        convolutions = ImageConvolutions(
            settings.channels,
            settings.height,
            width,
            widths=settings.conv_channels,
            strides=settings.conv_strides,
            fold_height=settings.fold_height,
        )
        if not settings.fold_height:
            stride = math.prod(columns for _, columns in settings.conv_strides)
            places = _place_positions(model, rows=convolutions.rows, columns=-(-most // stride))
            return FeatureEmbedding(
                convolutions, places, most=most, what="an image", dropout=model.dropout, noise=noise
            )
        kinds = {"sinusoidal": Sinusoidal, "learned": lambda width: Learned(width, max_length=most)}
        positions = kinds.get(model.encoder_positions, lambda _: NoPositions())(width)
        return FeatureEmbedding(convolutions, positions, most=most, what="an image", dropout=model.dropout, noise=noise)

    @property
    def unit(self) -> str:
        return "columns of pixels" if self.settings.front == "convolutions" else "patches"

    def measure(self, file: BinaryIO, what: str) -> int:
        size = image_size(file, what)
        self._check_size(size, what)
        return length_of(*size, self.settings)

    def load(self, file: BinaryIO, what: str) -> Tensor:
        self._check_size(image_size(file, what), what)
        return pixels(scaled(read_image(file, what, mode=self._mode), self.settings))

    def check_length(self, length: int, *, max_length: int, what: str) -> None:
        if length > (most := self._most(max_length)):
            problem = f"{what} must have at most {most} {self.unit} (`model.max_length`), but has {length}"
            raise DataError(f"{problem}. Cut the image, or train with a larger `model.max_length`.")

    def features(self, row: Tensor) -> Tensor:
        height, width = row.shape[1:]
        if scaled_size(width, height, self.settings) != (width, height):  # after an augmentation
            row = pixels(scaled(image_of(row), self.settings))
        return features_of(row, self.settings)

    def read(self, inputs: object, what: str, *, names: bool = True, template: bool = True) -> list[Tensor]:
        """The pixels (C, H, W) of one image or several, each the path or the bytes of a file, a PIL image, or
        pixels."""
        one = isinstance(inputs, str | Path | bytes | Mapping | pillow()) or getattr(inputs, "ndim", 4) < 4
        if not one and not isinstance(inputs, Sequence | Iterator) and getattr(inputs, "__array__", None) is None:
            raise DataError(f"`{what}` must be images, but is {show(inputs)}. {REMEDY}")
        rows: Iterable[object] = [inputs] if one else inputs  # type: ignore[assignment]
        return [self._row(value, f"`{what}` must be images, but number {row + 1}") for row, value in enumerate(rows)]

    def is_empty(self, row: Tensor) -> bool:
        return row.numel() == 0

    def parts(
        self, rows: Sequence[Tensor], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[SourceParts]:
        whole = self.whole(rows, network=network, config=config, first_row=first_row)
        return [SourceParts([features], [""]) for features in whole]

    def whole(
        self, rows: Sequence[Tensor], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[Source]:
        if config.max_source_tokens is not None:
            raise ConfigError("`max_source_tokens` must be left out for a model of images, but is given. Remove it.")
        if config.overflow != "error":
            problem = f"`overflow` must be error for a model of images, which are not cut, but is {config.overflow}"
            raise ConfigError(f"{problem}. Remove it.")
        found: list[Source] = []
        for row, image in enumerate(rows, first_row):
            features = self.features(image)
            self.check_length(len(features), max_length=network.max_length, what=image_name(image, row))
            found.append(features)
        return found

    def _most(self, max_length: int) -> int:
        """The largest number of rows of features in a model of `max_length`, which may be less than a fixed size
        has."""
        width, height = self.settings.width, self.settings.height
        return max_length if width is None or height is None else length_of(width, height, self.settings)

    def picture(self, row: Tensor, *, positions: int) -> SourcePicture:
        settings = self.settings
        image, patch = whole_pixels(pixels(scaled(image_of(row), settings)), settings), settings.patch
        if settings.front == "convolutions":
            each = math.prod(stride for _, stride in settings.conv_strides)
            if not settings.fold_height:
                return _of_places(image, settings, each)
            return of_columns(image, positions, each=each, labels=[str(i * each) for i in range(positions)])
        rows, columns = (side // patch for side in image.shape[1:])
        places = [(i, j) for i in range(rows) for j in range(columns)]
        before = settings.prefix_tokens
        boxes = [None] * before + [Box(j * patch, i * patch, patch, patch) for i, j in places]
        labels = [f"[{i + 1}]" for i in range(before)] + [f"{i + 1},{j + 1}" for i, j in places]
        return SourcePicture(image, boxes, labels)

    @property
    def _mode(self) -> str:
        """The mode of PIL images."""
        return "L" if self.settings.channels == 1 else "RGB"

    def _check_size(self, size: tuple[int, int], what: str) -> None:
        """DataError for a narrow image that would be huge when it is scaled."""
        width, height = scaled_size(*size, self.settings)
        if width * height > MAX_PIXELS:
            problem = f"{what} of {size[0]} x {size[1]} pixels would have {width} x {height} when scaled"
            raise DataError(f"{problem}, more than {MAX_PIXELS} pixels. Cut it.")

    def _row(self, value: object, what: str) -> Tensor:
        """The pixels of one image; `what` begins the message of a DataError."""
        image_type = pillow()
        if isinstance(value, Mapping) and ("bytes" in value or "path" in value):  # as data sets of the hub have them
            value = value["bytes"] if value.get("bytes") is not None else value["path"]
        if isinstance(value, str | Path):
            file = file_of(value, "an image", what=what, remedy=REMEDY, example="a.png")
            return FileImage.of(self._stored(file), f"`{value}`")
        if isinstance(value, bytes):
            return self.load(io.BytesIO(value), what.partition(" must")[0])
        if isinstance(value, image_type):
            self._check_size(value.size, f"{what} is an image, which")
            return pixels(scaled(opaque(value, what.partition(" must")[0], self._mode), self.settings))
        return self._row(image_of(_as_pixels(value, what)), what)

    def _stored(self, file: Path) -> Tensor:
        """The pixels of the image in a file."""
        try:
            with file.open("rb") as opened:
                return self.load(opened, f"`{file}`")
        except OSError as error:
            problem = f"`{file}` cannot be read ({error.strerror or error})"
            raise DataError(f"{problem}. Check the file and its permissions.") from error


class FileImage(Tensor):
    """The pixels (C, H, W) of an image in a file, which errors name. Operations return plain tensors."""

    what: str
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def of(cls, pixels: Tensor, what: str) -> Self:
        image = pixels.as_subclass(cls)
        image.what = what
        return image


def image_name(image: Tensor, row: int) -> str:
    """How errors name input `row`, counted from 0: with its file, if it is in one."""
    return f"input {row + 1}" + (f" ({image.what})" if isinstance(image, FileImage) else "")


def _as_pixels(value: object, what: str) -> Tensor:
    """The pixels (C, H, W), uint8, of an array (H, W), (C, H, W) or (H, W, C)."""
    try:
        given = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"{what} is {show(value)}. {REMEDY}") from None
    shape = tuple(given.shape)
    if given.dim() == 2:
        given = given[None]
    elif given.dim() == 3 and shape[0] not in (1, 3) and shape[2] in (1, 3):
        given = given.permute(2, 0, 1)
    if given.dim() != 3 or given.shape[0] not in (1, 3) or not given.numel():
        raise DataError(f"{what} has shape {shape}. {REMEDY}")
    if given.is_floating_point():
        if not bool(((given >= 0) & (given <= 1)).all()):
            raise DataError(f"{what} has values that are not from 0 to 1. {REMEDY}")
        return (given * 255).round().to(torch.uint8)
    if given.dtype is not torch.uint8:
        raise DataError(f"{what} has values of type {given.dtype}. {REMEDY}")
    return given


def _patch_positions(model: ModelConfig, settings: ImageConfig) -> nn.Module:
    """What adds positions to patches."""
    patch = settings.patch
    rows, columns = (
        model.max_length if side is None else -(-side // patch) for side in (settings.height, settings.width)
    )
    if model.encoder_positions != "learned" or settings.height is None or settings.width is None:
        return _place_positions(model, rows=rows, columns=columns)
    # A fixed size has a vector for each patch, as in ViT.
    return Learned(model.d_model, max_length=rows * columns + settings.prefix_tokens)


def _place_positions(model: ModelConfig, *, rows: int, columns: int) -> nn.Module:
    """What adds positions in two dimensions."""
    if model.encoder_positions == "sinusoidal":
        return GridSinusoidal(model.d_model)
    if model.encoder_positions == "learned":
        return GridLearned(model.d_model, rows=rows, columns=columns)
    return NoPositions()


def _of_places(image: Tensor, settings: ImageConfig, width: int) -> SourcePicture:
    """The picture of places column by column, each of them `width` pixels wide."""
    height = math.prod(rows for rows, _ in settings.conv_strides)
    below, right = image.shape[1:]
    places = [(i, j) for j in range(-(-right // width)) for i in range(-(-below // height))]
    boxes = [
        Box(j * width, i * height, min(width, right - j * width), min(height, below - i * height)) for i, j in places
    ]
    return SourcePicture(image, boxes, [f"{i + 1},{j + 1}" for i, j in places])
