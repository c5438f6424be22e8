"""Encodes the pairs of a mixture to ids, a chunk at a time, and treats sides that are too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from antiphon.data.denoising import Denoiser
from antiphon.data.epochs.data_report import DataReport
from antiphon.data.lines import DataPlace
from antiphon.data.media.references import Reference
from antiphon.data.media.rows import MediaRow, MediaSources
from antiphon.data.mixture import MixtureItem
from antiphon.data.profile import DataProfile
from antiphon.errors import DataError
from antiphon.text.sampling import SegmentationSampler
from antiphon.text.tokenizer import Tokenizer

_CHUNK_PAIRS, _CHUNK_CHARACTERS = 1000, 500_000  # encoded in one call of the tokenizer


class Encoded(NamedTuple):
    """The ids of an example, end included, the item it was made from, and whether it is the last of that item. The
    source may be a row of images or sound."""

    source: list[int] | MediaRow
    target: list[int]
    item: MixtureItem
    last: bool


class EncodedItem(NamedTuple):
    """An item of a mixture with the ids (source, target) of its examples: one, or what an objective made of it, or none
    if they were too long."""

    item: MixtureItem
    examples: Sequence[tuple[list[int] | MediaRow, list[int]]]

    @property
    def taken(self) -> int:
        """As of the item."""
        return self.item.position.taken


def flattened(items: Iterator[EncodedItem], profile: DataProfile | None) -> Iterator[Encoded]:
    """The examples of the items; `profile` counts the first ones."""
    for item, examples in items:
        left = len(examples)
        for source, target in examples:
            left -= 1
            if profile is not None and not profile.full:
                profile.add(source, target, item.target if left == 0 else "")
            yield Encoded(source, target, item, left == 0)


@dataclass(frozen=True)
class ExampleEncoder:
    """Encodes texts with a tokenizer for each side; `overflow` is applied to sides longer than `max_length` tokens.

    `samplers` (source, target) draw a new segmentation in each epoch; None: the tokenizer's own. `denoisers` make pairs
    from plain text, keyed by the number of the source. `as_target` turns encoded target ids into the ids of an answer.
    `profile` counts the first examples. `media` reads sources that are references to images or sound.
    """

    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    max_length: int
    overflow: str = "error"
    samplers: tuple[SegmentationSampler | None, SegmentationSampler | None] = (None, None)
    denoisers: Mapping[int, Denoiser] = field(default_factory=dict)
    as_target: Callable[[list[int]], list[int]] | None = None
    profile: DataProfile | None = None
    media: MediaSources | None = None

    def encode(
        self, stream: Iterator[MixtureItem], report: DataReport, *, seed: int = 0, epoch: int = 0
    ) -> Iterator[Encoded]:
        """The examples of the items, without skipped ones; updates the counts in `report`."""
        items = (one for chunk in chunks(stream) for one in self.encode_chunk(chunk, report, seed=seed, epoch=epoch))
        return flattened(items, self.profile)

    def encode_chunk(
        self, chunk: Sequence[MixtureItem], report: DataReport, *, seed: int = 0, epoch: int = 0
    ) -> Iterator[EncodedItem]:
        """Each item of a chunk with its examples, of which there may be none; updates the counts in `report`."""
        if self.media is None:
            yield from self._text_chunk(chunk, report, seed=seed, epoch=epoch)
        elif not self.media.kind.joins_text:
            yield from self._media_chunk(self.media, chunk, report, seed=seed, epoch=epoch)
        else:
            kinds: dict[bool, list[MixtureItem]] = {True: [], False: []}
            for item in chunk:
                kinds[isinstance(item.source, Reference)].append(item)
            images = self._media_chunk(self.media, kinds[True], report, seed=seed, epoch=epoch)
            texts = self._text_chunk(kinds[False], report, seed=seed, epoch=epoch)
            for item in chunk:
                yield next(images if isinstance(item.source, Reference) else texts)

    def _text_chunk(
        self, chunk: Sequence[MixtureItem], report: DataReport, *, seed: int, epoch: int
    ) -> Iterator[EncodedItem]:
        """`encode_chunk` for texts."""
        longest, windows = self.max_length, self.overflow == "window"  # windows: a longer source is read in parts
        keys = [item.position.repeat << 40 | item.number for item in chunk]  # a repeated pair is segmented anew
        sources = self._ids(0, [item.source for item in chunk], keys, seed, epoch)
        targets = self._ids(1, [item.target for item in chunk], keys, seed, epoch)
        for source, target, item, key in zip(sources, targets, chunk, keys, strict=True):
            made = [(source, target)]
            if item.plain:
                number = item.position.cursor.source
                made = self.denoisers[number].pairs(source, target, f"{seed} {epoch} {number} {key}", item.place)
            if self.as_target is not None:
                made = [(one, self.as_target(other)) for one, other in made]
            examples: list[tuple[list[int], list[int]]] = []
            for sides in made:
                if len(sides[1]) <= longest and (windows or len(sides[0]) <= longest):
                    examples.append(sides)
                elif (fit := self._fit(*sides, item.place, report)) is not None:
                    examples.append(fit)
            yield EncodedItem(item, examples)

    def _media_chunk(
        self, media: MediaSources, chunk: Sequence[MixtureItem], report: DataReport, *, seed: int, epoch: int
    ) -> Iterator[EncodedItem]:
        """`encode_chunk` for images or sound: only targets have at most `max_length` tokens, with their prompts; and
        sources that are texts with images."""
        keys = [item.position.repeat << 40 | item.number for item in chunk]
        targets = self._ids(1, [item.target for item in chunk], keys, seed, epoch)
        joins = media.kind.joins_text
        texts = [item.source.prompt if isinstance(item.source, Reference) and not joins else "" for item in chunk]
        encoded = iter(self.target_tokenizer.encode_batch([text for text in texts if text]))
        prompts = [self.target_tokenizer.bare(next(encoded)) if text else [] for text in texts]
        forced: list[int] = []
        if self.as_target is not None:
            targets = [self.as_target(target) for target in targets]
            forced = self.as_target([])[:-1]  # the first tokens of an answer, which stand before its prompt
        rows = []
        for item, prompt, target in zip(chunk, prompts, targets, strict=True):
            if prompt and forced and target[: len(forced)] == forced:
                prompt, target[:] = [*forced, *prompt], target[len(forced) :]
            rows.append((item.source, item.place, item.number, prompt))
        for item, row, target in zip(chunk, media.rows(rows), targets, strict=True):
            if row is None:
                report.bad += 1
                yield EncodedItem(item, [])
            elif joins and len(row) > self.max_length:
                yield EncodedItem(item, self._too_long(row, item.place, report))
            elif len(row.prompt) + len(target) <= self.max_length:
                yield EncodedItem(item, [(row, target)])
            else:
                yield EncodedItem(item, self._shortened(row, target, item.place, report))

    def _shortened(
        self, row: MediaRow, target: list[int], place: DataPlace, report: DataReport
    ) -> list[tuple[MediaRow, list[int]]]:
        """The example of an image or sound whose target is too long, as `overflow` says."""
        most = self.max_length - len(row.prompt)
        if self.overflow == "skip":
            report.too_long += 1
            return []
        if self.overflow == "truncate" and most > 0:
            report.truncated += 1
            return [(row, self.target_tokenizer.truncate(target, most))]
        raise DataError(
            f"a target must have at most {self.max_length} tokens, with its prompt, but has "
            f"{len(row.prompt) + len(target)} ({place.of('target')}). Raise `data.max_length` (and "
            "`model.max_length`), or set `data.overflow` to truncate or skip."
        )

    def _too_long(self, row: MediaRow, place: DataPlace, report: DataReport) -> list[tuple[MediaRow, list[int]]]:
        """No example, of a text with an image that is too long; DataError unless `overflow` is skip."""
        if self.overflow != "skip":
            raise DataError(
                f"a source must have at most {self.max_length} tokens, with those of its image, but has {len(row)} "
                f"({place.of('source')}). Shorten its text, raise `data.max_length` (and `model.max_length`), or set "
                "`data.overflow` to skip."
            )
        report.too_long += 1
        return []

    def _ids(self, side: int, texts: list[str], keys: list[int], seed: int, epoch: int) -> list[list[int]]:
        sampler = self.samplers[side]
        if sampler is not None:
            return sampler.encode_batch(texts, keys, seed=seed, epoch=epoch)
        return (self.source_tokenizer, self.target_tokenizer)[side].encode_batch(texts)

    def _fit(
        self, source: list[int], target: list[int], place: DataPlace, report: DataReport
    ) -> tuple[list[int], list[int]] | None:
        """The sides of a pair that is too long, as `overflow` says; None if it is skipped."""
        if self.overflow == "skip":
            report.too_long += 1
            return None
        if self.overflow in ("error", "window"):
            windows = self.overflow == "window"
            long = len(source) > self.max_length and not windows
            side, length = ("source", len(source)) if long else ("target", len(target))
            ways = "truncate, skip or window" if long else "truncate or skip"  # only sources have windows
            raise DataError(
                f"a {side} must have at most {self.max_length} tokens, but has {length} ({place.of(side)}). "
                f"Raise `data.max_length` (and `model.max_length`), or set `data.overflow` to {ways}."
            )
        report.truncated += 1
        most = self.max_length
        return self.source_tokenizer.truncate(source, most), self.target_tokenizer.truncate(target, most)


def chunks(stream: Iterator[MixtureItem]) -> Iterator[list[MixtureItem]]:
    """The items in chunks that are encoded together."""
    chunk: list[MixtureItem] = []
    characters = 0
    for item in stream:
        chunk.append(item)
        characters += len(item.source) + len(item.target)
        if len(chunk) == _CHUNK_PAIRS or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
