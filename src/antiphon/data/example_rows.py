"""One side of the examples in memory: rows of ids, or of features."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from antiphon.batch import LazyFeatures, Source
from antiphon.data.media.rows import MediaRow
from antiphon.inputs import InputKind

FEATURES = Tensor, LazyFeatures, MediaRow  # what is not ids: a list of them, or an array from a reader


class IdRows:
    """Lists of ids, one after the other in an array."""

    def __init__(self) -> None:
        self._ids, self._ends = array("I"), array("Q", [0])

    def append(self, ids: Source | MediaRow) -> None:
        """TypeError for features."""
        if isinstance(ids, FEATURES):
            raise TypeError("rows must all be ids, but one is features")
        self._ids.extend(ids)
        self._ends.append(len(self._ids))

    def __getitem__(self, index: int) -> list[int]:
        return self._ids[self._ends[index] : self._ends[index + 1]].tolist()

    def prompt(self, index: int) -> Sequence[int]:
        """The ids before the target; ids have none."""
        return ()

    def length(self, index: int) -> int:
        return self._ends[index + 1] - self._ends[index]

    def __iter__(self) -> Iterator[list[int]]:
        return (self[index] for index in range(len(self._ends) - 1))

    @property
    def total(self) -> int:
        """Ids of all rows."""
        return len(self._ids)


class FeatureRows:
    """Features (F, M) of each row, computed or to be computed."""

    def __init__(self) -> None:
        self._rows: list[Tensor | LazyFeatures | MediaRow] = []
        self._seed, self._epoch = 0, 0
        self.total = 0  # frames of all rows

    def append(self, features: Source | MediaRow) -> None:
        """TypeError for ids."""
        if not isinstance(features, FEATURES):
            raise TypeError("rows must all be features, but one is ids")
        self._rows.append(features)
        self.total += len(features)

    def at(self, seed: int, epoch: int) -> FeatureRows:
        """The same rows, as they are in an epoch: their augmentations depend on it."""
        made = copy.copy(self)
        made._seed, made._epoch = seed, epoch
        return made

    def __getitem__(self, index: int) -> Tensor | LazyFeatures:
        row = self._rows[index]
        return row.at(self._seed, self._epoch) if isinstance(row, MediaRow) else row

    def prompt(self, index: int) -> Sequence[int]:
        """The ids before the target."""
        row = self._rows[index]
        return row.prompt if isinstance(row, MediaRow) else ()

    def length(self, index: int) -> int:
        return len(self._rows[index])


class MixedRows(FeatureRows):
    """Texts with files, and texts without, which are `earlier` ids and those that are appended. All are features, so
    that each batch has the same gradients, whichever rows are in it."""

    def __init__(self, kind: InputKind[Any], earlier: IdRows | FeatureRows) -> None:
        super().__init__()
        self._kind = kind
        for ids in earlier if isinstance(earlier, IdRows) else ():
            self.append(ids)

    def append(self, features: Source | MediaRow) -> None:
        """Ids too."""
        if isinstance(features, list):
            features = LazyFeatures(len(features), partial(self._kind.features_of_ids, array("I", features)))
        super().append(features)
