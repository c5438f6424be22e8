"""Texts with images as input (T5Gemma 2): texts alone, or each with images before it.

    kind = ImageTextInput(vision=family.vision).with_tokenizer(tokenizer)
    kind.read({"image": "cat.png", "text": "what is this?"}, "texts")       # [ImageText(...)]

Shapes: P patches of C·p·p numbers, F rows of M numbers of a source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.config import FamilyConfig, GenerationConfig, ImageConfig, InputSettings
from antiphon.config.vision import VisionConfig
from antiphon.errors import ConfigError, DataError
from antiphon.inputs.image import ImageInput
from antiphon.inputs.kind import Source, SourceParts
from antiphon.inputs.leading_text import in_template
from antiphon.inputs.limits import BoundedNetwork, check_source, source_limit
from antiphon.inputs.text import TextInput, texts_of
from antiphon.settings import show

_AROUND = "\n\n"  # before and after each image, as in transformers' processor


@dataclass(frozen=True)
class ImageText:
    """A text, and the images before it: normalized pixels (C, H, W)."""

    text: str
    images: tuple[Tensor, ...]


@dataclass(frozen=True)
class ImageTextInput(TextInput):
    """Texts, or {"image": image, "text": text} with one image or a list of them; an image alone has an empty text.

    An image is scaled to the square of the model, out of ratio. A call of texts alone is read as ids, one with an image
    as features.
    """

    vision: VisionConfig | None = None

    @classmethod
    def of(cls, family: FamilyConfig | None, settings: InputSettings | None) -> Self | None:
        return cls(vision=family.vision) if settings is None and family is not None and family.vision else None

    def read(self, inputs: object, what: str, *, names: bool = True, template: bool = True) -> list[Any]:
        if isinstance(inputs, Mapping | Path) or _is_image(inputs):
            inputs = [inputs]
        if isinstance(inputs, str) or not isinstance(inputs, Sequence | Iterator):
            return super().read(inputs, what, names=names, template=template)
        rows: list[object] = list(inputs)
        if all(isinstance(row, str) for row in rows):
            return super().read(rows, what, names=names, template=template)
        found: list[Any] = []
        for number, row in enumerate(rows, 1):
            if isinstance(row, str):
                found += super().read([row], what, template=template)
            else:
                found.append(self._row(row, what, number, self.template if template else ""))
        return found

    def check_single(self, source: object) -> None:
        if not isinstance(source, Mapping | Path) and not _is_image(source):
            super().check_single(source)

    def is_empty(self, row: Any) -> bool:
        return not isinstance(row, ImageText) and super().is_empty(row)

    def parts(
        self, rows: Sequence[Any], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[SourceParts]:
        if not any(isinstance(row, ImageText) for row in rows):
            return super().parts(rows, network=network, config=config, first_row=first_row)
        found = self.whole(rows, network=network, config=config, first_row=first_row)
        return [
            SourceParts([], []) if self.is_empty(row) else SourceParts([source], [""])
            for row, source in zip(rows, found, strict=True)
        ]

    def whole(
        self, rows: Sequence[Any], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[Source]:
        if not any(isinstance(row, ImageText) for row in rows):
            return super().whole(rows, network=network, config=config, first_row=first_row)
        if config.overflow != "error":
            raise ConfigError(
                f"`overflow` must be error for texts with images, which are not cut, but is {config.overflow}. Remove "
                "it."
            )
        vision, limit = self.vision, source_limit(network, config)
        assert vision is not None
        found: list[Source] = []
        for number, row in enumerate(rows, first_row):
            images = row.images if isinstance(row, ImageText) else ()
            ids = self.ids_of(row.text if isinstance(row, ImageText) else row, len(images))
            remedy = "Shorten its text, or give fewer images"
            check_source(ids, limit, most=network.max_length, row=number, remedy=remedy)
            found.append(rows_of(images, ids, vision))
        return found

    def ids_of(self, text: str, images: int) -> list[int]:
        """The ids of a text behind `images` images, each of which has as many ids as vectors."""
        tokenizer, vision = self._tokenizer, self.vision
        assert vision is not None
        if not images:
            return tokenizer.encode(text)
        before, after = tokenizer.frame
        own = [vision.begin_id, *[vision.image_id] * vision.tokens, vision.end_id]
        ids = list(before)
        for number in range(images):
            ids += tokenizer.bare(tokenizer.encode(_AROUND if number == 0 else 2 * _AROUND)) + own
        return [*ids, *tokenizer.bare(tokenizer.encode(_AROUND + text)), *after]

    def _row(self, value: object, what: str, number: int, template: str) -> ImageText:
        """A text with images; `what` and `number` name it in a DataError."""
        images, text = (value.get("image"), value.get("text", "")) if isinstance(value, Mapping) else (value, "")
        vision = self.vision
        assert vision is not None
        if not isinstance(text, str) or images is None:
            problem = f'must be a text, or {{"image": image, "text": text}}, but is {show(value)}'
            raise DataError(f"number {number} of `{what}` {problem}. Give both, or the image alone.")
        settings = ImageConfig(
            channels=3,
            height=vision.image_size,
            width=vision.image_size,
            stretch=True,
            patch=vision.patch,
        )
        several: Iterable[object] = images if isinstance(images, list | tuple) else [images]
        pixels = ImageInput(settings).read(list(several), what)
        (text,) = in_template(texts_of(text, what), template)
        # From -1 to 1, as SigLIP was trained.
        return ImageText(text, tuple(image.to(torch.float32) / 127.5 - 1 for image in pixels))


def _is_image(value: object) -> bool:
    """Whether a source is an image itself: pixels, bytes of a file or an image of Pillow."""
    of_pillow = type(value).__module__.startswith("PIL.")  # which is not imported for texts
    return isinstance(value, bytes) or of_pillow or getattr(value, "ndim", 0) >= 2


def patches_of(image: Tensor, settings: VisionConfig) -> Tensor:
    """The patches (P, C·p·p) of an image (C, H, W), row by row."""
    size, side = settings.patch, settings.side
    cut = image[:, : side * size, : side * size].reshape(image.shape[0], side, size, side, size)
    return cut.permute(1, 3, 0, 2, 4).reshape(side * side, -1)  # (C, side, p, side, p) -> (side, side, C, p, p)


def rows_of(images: Sequence[Tensor], ids: Sequence[int], settings: VisionConfig) -> Tensor:
    """A source (F, M) of `ids` with normalized images (C, H, W), as `ImageTextEmbedding` reads it."""
    width = settings.channels * settings.patch**2 + 1
    text = torch.zeros(len(ids), width)
    text[:, 0] = torch.tensor(ids, dtype=torch.float32)
    patches = [functional.pad(patches_of(image, settings), (0, 1), value=1.0) for image in images]
    return torch.cat([*patches, text])
