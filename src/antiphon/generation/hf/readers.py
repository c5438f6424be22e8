"""What a model that transformers computes reads: texts, sound, or images, alone or with a text.

    reader = TextReader(tokenizer, pad=1)
    rows = reader.read(["in 3 hours"], "texts", names=True)
    network.generate(**reader.joined(rows))

Files are opened by Antiphon's own readers, within their bounds; the library's processors compute the features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from antiphon.config import ImageConfig
from antiphon.errors import AntiphonError, DataError, ModelError, one_line
from antiphon.inputs.image import ImageInput
from antiphon.inputs.image_features import image_of
from antiphon.inputs.sounds.reading import read_recordings
from antiphon.inputs.sounds.stored import samples_of
from antiphon.inputs.text import texts_of
from antiphon.settings import show
from antiphon.text import clean_text
from antiphon.text.kinds import is_blank


class HFTokenizer:
    """The tokenizer of the library, with our method names."""

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs

    def encode(self, text: str) -> list[int]:
        """The ids of a source, including those that its tokenizer adds."""
        return list(self._theirs(clean_text(text))["input_ids"])

    def target(self, text: str) -> list[int]:
        """The ids of a target, likewise."""
        return list(self._theirs(text_target=clean_text(text))["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special ones."""
        return self._theirs.decode(list(ids), skip_special_tokens=True)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The tokens of `ids`, without special ones."""
        return self._theirs.convert_ids_to_tokens(list(ids), skip_special_tokens=True)

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, without special ones."""
        return self.pieces(self.encode(text))

    def is_empty(self, ids: Sequence[int]) -> bool:
        """Whether there are only special ids other than the unknown token."""
        return {*ids} <= {*self._theirs.all_special_ids} - {self._theirs.unk_token_id}


@dataclass(frozen=True)
class HFRow:
    """A source: the arguments of the library's network for it, with one row each, and its number of `tokens`, 0 without
    any. The answer of an `empty` one is empty."""

    given: dict[str, Tensor]
    tokens: int = 0
    empty: bool = False


class HFReader(ABC):
    """Reads a user's inputs. `reads` names what they are; `alone`: each source is a batch of its own, since features
    of several sizes are padded in no common way."""

    reads: ClassVar[str]
    alone: ClassVar[bool] = True

    @abstractmethod
    def read(self, inputs: object, what: str, *, names: bool) -> list[HFRow]:
        """The sources in `inputs`, one or several. DataError, which calls them `what`, for anything else."""

    def joined(self, rows: Sequence[HFRow]) -> dict[str, Tensor]:
        """The arguments of the network for a batch of rows."""
        (row,) = rows
        return row.given


class TextReader(HFReader):
    """Texts; without `names`, names of files of images and sound are refused."""

    reads, alone = "text", False

    def __init__(self, tokenizer: HFTokenizer, *, pad: int) -> None:
        self.tokenizer, self.pad = tokenizer, pad

    def read(self, inputs: object, what: str, *, names: bool) -> list[HFRow]:
        found = []
        for text in texts_of(inputs, what, names=names):
            ids = self.tokenizer.encode(text)
            given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
            found.append(HFRow(given, len(ids), not ids or self.tokenizer.is_empty(ids) or is_blank(text)))
        return found

    def joined(self, rows: Sequence[HFRow]) -> dict[str, Tensor]:
        width = max(row.tokens for row in rows)

        def pad(name: str, value: int) -> Tensor:
            parts = [
                torch.nn.functional.pad(row.given[name], (0, width - row.given[name].shape[1]), value=value)
                for row in rows
            ]
            return torch.cat(parts)

        return {"input_ids": pad("input_ids", self.pad), "attention_mask": pad("attention_mask", 0)}


class SoundReader(HFReader):
    """Recordings: paths of sound files, their bytes, or samples, as the models of this toolkit read them."""

    reads = "sound"

    def __init__(self, extractor: Any) -> None:
        self.extractor, self.sampling_rate = extractor, int(extractor.sampling_rate)

    def read(self, inputs: object, what: str, *, names: bool) -> list[HFRow]:
        rows = read_recordings(inputs, what, sampling_rate=self.sampling_rate)
        return [self._row(samples_of(sound), f"`{what}`, number {row + 1},") for row, sound in enumerate(rows)]

    def _row(self, samples: Tensor, what: str) -> HFRow:
        if not len(samples):
            return HFRow({}, empty=True)
        settings = {"sampling_rate": self.sampling_rate, "return_tensors": "pt", "return_attention_mask": True}
        return HFRow(_features(lambda: self.extractor(samples.numpy(), **settings), what))


class ImageReader(HFReader):
    """Images: paths of files, their bytes, PIL images or pixels; or {"image": one of these, "text": a text} for a model
    that reads a text beside it."""

    reads = "images"

    def __init__(self, images: Any, processor: Any | None) -> None:
        self.images, self.processor = images, processor
        self.kind = ImageInput(ImageConfig(channels=3, height=None, width=None))

    def read(self, inputs: object, what: str, *, names: bool) -> list[HFRow]:
        several = isinstance(inputs, list | tuple | Iterator)
        rows: Iterable[object] = inputs if several else [inputs]  # type: ignore[assignment]
        return [self._row(value, f"`{what}`, number {row + 1},", what) for row, value in enumerate(rows)]

    def _row(self, value: object, what: str, name: str) -> HFRow:
        text = None
        if isinstance(value, Mapping) and "image" in value:
            value, text = value["image"], value.get("text")
        if text is not None and (self.processor is None or not isinstance(text, str)):
            no_text = "This model reads images alone. Leave the text out."
            problem = f"must be a text, but is {show(text)}." if not isinstance(text, str) else f"is given. {no_text}"
            raise DataError(f"the text of {what} {problem}")
        pixels = self.kind.read([value], name)[0]
        image = image_of(pixels)
        if text is None:
            return HFRow(_features(lambda: self.images(images=[image], return_tensors="pt"), what))
        assert self.processor is not None
        processor, text = self.processor, clean_text(text)
        given = _features(lambda: processor(images=[image], text=[text], return_tensors="pt"), what)
        return HFRow(given, given["input_ids"].shape[1] if "input_ids" in given else 0)


def _features(compute: Any, what: str) -> dict[str, Tensor]:
    """The tensors that a processor of the library computes; ModelError for one that fails."""
    try:
        return {name: value for name, value in compute().items() if isinstance(value, Tensor)}
    except AntiphonError:
        raise
    except Exception as error:  # the library's processors raise anything
        reason = one_line(error)
        raise ModelError(
            f"transformers cannot read {what} with this model's processor ({type(error).__name__}: {reason:.200}). "
            "Check the file, or try another version of transformers."
        ) from error
