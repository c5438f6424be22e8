"""Texts with images as input (T5Gemma 2): texts alone, or each with images before it.

    kind = ImageTextInput(vision=family.vision).with_tokenizer(tokenizer)
    kind.read({"image": "cat.png", "text": "what is this?"}, "texts")       # [ImageText(...)]

Shapes: P patches of C·p·p numbers, F rows of M numbers of a source.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.config import FamilyConfig, GenerationConfig, ImageConfig, InputSettings
from antiphon.config.vision import VisionConfig
from antiphon.errors import DataError
from antiphon.inputs.image import ImageInput
from antiphon.inputs.image_features import image_of, pixels, scaled
from antiphon.inputs.kind import Source, SourceParts
from antiphon.inputs.leading_text import in_template
from antiphon.inputs.limits import BoundedNetwork, check_source, source_limit
from antiphon.inputs.pictures import Box, SourcePicture
from antiphon.inputs.text import TextInput, texts_of
from antiphon.settings import show
from antiphon.text.kinds import is_blank

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
    as features. In data, a file is an image before the text beside it.
    """

    vision: VisionConfig | None = None

    joins_text: ClassVar[bool] = True

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
        """The ids of a text behind `images` images, each of which has as many ids as vectors. DataError for a text that
        has the token of an image itself."""
        tokenizer, vision = self._tokenizer, self.vision
        assert vision is not None
        if vision.image_id in (plain := tokenizer.encode(text)):
            (token,) = tokenizer.pieces([vision.image_id], specials=True)
            problem = f"must not have the token `{token}`, which stands for an image, but {show(text)} has it"
            raise DataError(f"a text {problem}. Remove it.")
        if not images:
            return plain
        before, after = tokenizer.frame
        own = [vision.begin_id, *[vision.image_id] * vision.tokens, vision.end_id]
        ids = list(before)
        for number in range(images):
            ids += tokenizer.bare(tokenizer.encode(_AROUND if number == 0 else 2 * _AROUND)) + own
        return [*ids, *tokenizer.bare(tokenizer.encode(_AROUND + text)), *after]

    def measure(self, file: BinaryIO, what: str) -> int:
        """The vectors of an image in the text."""
        self._images.measure(file, what)
        return self._vision.tokens

    def load(self, file: BinaryIO, what: str) -> Any:
        """The pixels (C, H, W) of an image, uint8, scaled to the square of the model."""
        return self._images.load(file, what)

    def features(self, row: Any) -> Tensor:
        """Pixels (C, H, W), uint8, to the patches (P, C·p·p) of an image."""
        size = self._vision.image_size
        if row.shape[1:] != (size, size):  # after an augmentation
            row = pixels(scaled(image_of(row), self._images.settings))
        return patches_of(normalized(row), self._vision)

    def joined_length(self, text: str) -> int:
        return len(self.ids_of(text, 1))

    def joined(self, features: Tensor, text: str) -> Tensor:
        return joined_rows([features], self.ids_of(text, 1), self._vision)

    def features_of_ids(self, ids: Sequence[int]) -> Tensor:
        return joined_rows([], ids, self._vision)

    def with_text(self, row: Any, text: str) -> Any:
        return ImageText(self._in_template(text, self.template), (normalized(row),))

    def text_tokens(self, source: Source) -> int | None:
        return None if isinstance(source, list) else int((source[:, -1] == 0).sum())

    def picture(self, row: Any, *, positions: int) -> SourcePicture | None:
        """The images side by side; of a text without images None."""
        if not isinstance(row, ImageText) or not row.images:
            return None
        vision, ids = self._vision, self.ids_of(row.text, len(row.images))
        side = math.isqrt(vision.tokens)
        size = vision.side // side * vision.patch
        boxes: list[Box | None] = []
        labels, tokens = self._tokenizer.pieces(ids, specials=True), []
        marks = self._tokenizer.vocabulary.specials.control | {vision.begin_id, vision.end_id}
        for place, id in enumerate(ids):
            if id != vision.image_id:
                boxes.append(None)
                tokens += [place] if id not in marks else []
                continue
            number, at = divmod(sum(box is not None for box in boxes), vision.tokens)
            line, column = divmod(at, side)
            boxes.append(Box(number * vision.image_size + column * size, line * size, size, size))
            labels[place] = f"{number + 1}:" * (len(row.images) > 1) + f"{line + 1},{column + 1}"
        whole = torch.cat([((image + 1) * 127.5).round().to(torch.uint8) for image in row.images], dim=2)
        return SourcePicture(whole, boxes, labels, tokens=tokens)

    def longer(self, length: int, factor: float) -> int:
        return length  # an image is always scaled to the square of the model

    def with_prompt(self, row: ImageText, text: str) -> ImageText:
        """The same images with `text`, in the template of the training data."""
        return replace(row, text=self._in_template(text, self.template))

    def _row(self, value: object, what: str, number: int, template: str) -> ImageText:
        """A text with images; `what` and `number` name it in a DataError."""
        images, text = (value.get("image"), value.get("text", "")) if isinstance(value, Mapping) else (value, "")
        if not isinstance(text, str) or images is None:
            problem = f'must be a text, or {{"image": image, "text": text}}, but is {show(value)}'
            raise DataError(f"number {number} of `{what}` {problem}. Give both, or the image alone.")
        several: Iterable[object] = images if isinstance(images, list | tuple) else [images]
        read = self._images.read(list(several), what)
        (text,) = texts_of(text, what)
        return ImageText(self._in_template(text, template), tuple(map(normalized, read)))

    def _in_template(self, text: str, template: str) -> str:
        """A text in the template of the training data, as an empty one beside an image is too."""
        return template.replace("{}", text) if is_blank(text) and template else in_template([text], template)[0]

    @property
    def _vision(self) -> VisionConfig:
        assert self.vision is not None
        return self.vision

    @property
    def _images(self) -> ImageInput:
        """Images scaled to the square of the model."""
        size = self._vision.image_size
        return ImageInput(ImageConfig(channels=3, height=size, width=size, stretch=True, patch=self._vision.patch))


def _is_image(value: object) -> bool:
    """Whether a source is an image itself: pixels, bytes of a file or an image of Pillow."""
    of_pillow = type(value).__module__.startswith("PIL.")  # which is not imported for texts
    return isinstance(value, bytes) or of_pillow or getattr(value, "ndim", 0) >= 2


def patches_of(image: Tensor, settings: VisionConfig) -> Tensor:
    """The patches (P, C·p·p) of an image (C, H, W), row by row."""
    size, side = settings.patch, settings.side
    cut = image[:, : side * size, : side * size].reshape(image.shape[0], side, size, side, size)
    return cut.permute(1, 3, 0, 2, 4).reshape(side * side, -1)  # (C, side, p, side, p) -> (side, side, C, p, p)


def normalized(pixels: Tensor) -> Tensor:
    """Pixels (C, H, W), uint8, as float32 from -1 to 1, as SigLIP was trained."""
    return pixels.to(torch.float32) / 127.5 - 1


def rows_of(images: Sequence[Tensor], ids: Sequence[int], settings: VisionConfig) -> Tensor:
    """A source (F, M) of `ids` with normalized images (C, H, W), as `ImageTextEmbedding` reads it."""
    return joined_rows([patches_of(image, settings) for image in images], ids, settings)


def joined_rows(patches: Sequence[Tensor], ids: Sequence[int], settings: VisionConfig) -> Tensor:
    """A source (F, M) of `ids` with the patches (P, C·p·p) of each of its images."""
    width = settings.channels * settings.patch**2 + 1
    text = torch.zeros(len(ids), width)
    text[:, 0] = torch.tensor(list(ids), dtype=torch.float32)
    return torch.cat([*(functional.pad(each, (0, 1), value=1.0) for each in patches), text])
