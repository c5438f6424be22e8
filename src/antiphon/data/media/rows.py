"""The examples of images and sound: their lengths before they are read, and their features when a batch is made.

    media = MediaSources(kind, augmentations)
    row = media.row(reference, place, number=7)         # reads the head of the file
    row.at(seed, epoch).load()                          # (F, M): reads it, changes it, computes its features

The changes of a source are a function of (seed, epoch, number of the row), so that a run can be repeated and resumed,
whatever process loads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from antiphon.batch import LazyFeatures
from antiphon.data.bad_rows import MAX_ERRORS_SHOWN, BadRows, OnBadRow
from antiphon.data.lines import DataPlace
from antiphon.data.media.references import Reference, Spool, located, open_media
from antiphon.errors import DataError
from antiphon.inputs import InputKind
from antiphon.inputs.augmentation import Augmentation, draws
from antiphon.text.tokenizer import Tokenizer

_SKIPS = "`data.bad_rows: skip` leaves such rows out."


@dataclass(frozen=True)
class MediaSources:
    """Sources of `kind`, changed by `augmentations` in training.

    `bad_rows`: a file that cannot be read is an error, or left out and counted; to know, each is decoded once when its
    row is read. `max_length`: that of the model, which bounds sources; None for any.
    """

    kind: InputKind[Any]
    augmentations: Sequence[Augmentation] = ()
    bad_rows: OnBadRow = "error"
    max_length: int | None = None
    bad: BadRows = field(init=False, compare=False)
    spool: Spool = field(default_factory=Spool, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bad", BadRows(self.bad_rows))

    def encoding(self, tokenizer: Tokenizer) -> MediaSources:
        """The same, with `tokenizer` for the texts beside files."""
        return replace(self, kind=self.kind.with_tokenizer(tokenizer))

    @property
    def longest(self) -> float:
        """The largest factor by which augmentations make features longer."""
        return math.prod(each.longest for each in self.augmentations)

    def measure(self, reference: Reference, place: DataPlace) -> int:
        """The number of rows F of the features of a file, from its head. DataError, which names the file and the row,
        if it is no source of this kind, or too long."""
        what = f"`{reference}` ({place})"
        with _placed(place), open_media(reference) as file:
            length = self.kind.measure(file, what)
        if self.max_length is not None:
            self.kind.check_length(length, max_length=self.max_length, what=what)
        return length

    def row(self, reference: str, place: DataPlace, *, number: int, prompt: Sequence[int] = ()) -> MediaRow:
        """The row of a file, with its length. DataError if it is no source of this kind."""
        known = located(reference)
        what = f"`{known}` ({place})"
        length = self.measure(known, place)
        if self.bad_rows == "skip":
            self.features(known, what)
        length = self.kind.joined_length(known.prompt) if self.kind.joins_text else length
        length = self.kind.longer(length, self.longest)
        return MediaRow(self, self.spool.keep(known), what, number, length, tuple(prompt))

    def rows(self, items: Sequence[tuple[str, DataPlace, int, Sequence[int]]]) -> list[MediaRow | None]:
        """The rows of several files with place, number and prompt; None for a bad one that is skipped. One DataError
        names up to ten of them."""
        found: list[MediaRow | None] = []
        errors: list[tuple[DataError, DataPlace]] = []
        for reference, place, number, prompt in items:
            try:
                found.append(self.row(reference, place, number=number, prompt=prompt))
            except DataError as error:
                found.append(None)
                if self.bad_rows == "skip":
                    self.bad.skip(error)
                    continue
                errors.append((error, place))
                if len(errors) == MAX_ERRORS_SHOWN:
                    break
        if errors:
            raise _together(errors)
        return found

    def features(self, reference: Reference, what: str, *, augmented: tuple[int, int, int] | None = None) -> Tensor:
        """The features (F, M) of a file, without the text beside it; `augmented`: seed, epoch and number of the row.
        DataError if it cannot be read."""
        try:
            with open_media(reference) as file:
                source = self.kind.load(file, what)
        except DataError as error:  # of what stands behind the head, which is read while training runs
            raise error if augmented is None else DataError(f"{error} {_SKIPS}") from error
        if augmented is None or not self.augmentations:
            return self.kind.features(source)
        seed, epoch, number = augmented
        changes = [
            (each, draw)
            for each, draw in zip(
                self.augmentations, draws(self.augmentations, seed=seed, epoch=epoch, number=number), strict=True
            )
        ]
        for each, draw in changes:
            source = each.of_row(source, draw)
        features = self.kind.features(source)
        for each, draw in changes:
            features = each.of_features(features, draw)
        return features


@dataclass(frozen=True, slots=True)
class MediaRow:
    """The source of an example: its file, the number of the row among all pairs, the largest length of its features,
    and the ids of its prompt. A kind that joins texts counts the positions of the encoder instead, and has no
    prompt."""

    media: MediaSources
    reference: Reference
    what: str
    number: int
    length: int
    prompt: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.length

    def at(self, seed: int, epoch: int) -> LazyFeatures:
        """Its features in an epoch."""
        return LazyFeatures(self.length, MediaLoad(self, seed, epoch))

    def joined(self, features: Tensor) -> Tensor:
        """The features of the file, with the text beside it if its kind joins them."""
        kind = self.media.kind
        return kind.joined(features, self.reference.prompt) if kind.joins_text else features


@dataclass(frozen=True, slots=True)
class MediaLoad:
    """Computes the features (F, M) of a row in an epoch."""

    row: MediaRow
    seed: int
    epoch: int

    def __call__(self) -> Tensor:
        row = self.row
        return row.joined(row.media.features(row.reference, row.what, augmented=(self.seed, self.epoch, row.number)))


@contextmanager
def _placed(place: DataPlace) -> Iterator[None]:
    """Add the row to the error of a file that cannot be opened."""
    try:
        yield
    except DataError as error:
        raise error if f"({place})" in str(error) else DataError(f"{error} ({place})") from error


def _together(errors: Sequence[tuple[DataError, DataPlace]]) -> DataError:
    """One error for several bad files, which names the first one and the places of the others."""
    first = errors[0][0]
    if len(errors) == 1:
        return DataError(f"{first} {_SKIPS}")
    others = ", ".join(str(place) for _, place in errors[1:])
    return DataError(f"{first} At least {len(errors) - 1} other rows are bad too: {others}. {_SKIPS}")
