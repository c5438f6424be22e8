"""One side of the examples in memory: rows of ids, or of features."""

from __future__ import annotations

from array import array

from torch import Tensor

from antiphon.batch import LazyFeatures, Source

FEATURES = Tensor, LazyFeatures  # what is not ids: a list of them, or an array from a reader


class IdRows:
    """Lists of ids, one after the other in an array."""

    def __init__(self) -> None:
        self._ids, self._ends = array("I"), array("Q", [0])

    def append(self, ids: Source) -> None:
        """TypeError for features."""
        if isinstance(ids, FEATURES):
            raise TypeError("rows must all be ids, but one is features")
        self._ids.extend(ids)
        self._ends.append(len(self._ids))

    def __getitem__(self, index: int) -> list[int]:
        return self._ids[self._ends[index] : self._ends[index + 1]].tolist()

    def length(self, index: int) -> int:
        return self._ends[index + 1] - self._ends[index]

    @property
    def total(self) -> int:
        """Ids of all rows."""
        return len(self._ids)


class FeatureRows:
    """Features (F, M) of each row, computed or to be computed."""

    def __init__(self) -> None:
        self._rows: list[Tensor | LazyFeatures] = []
        self.total = 0  # frames of all rows

    def append(self, features: Source) -> None:
        """TypeError for ids."""
        if not isinstance(features, FEATURES):
            raise TypeError("rows must all be features, but one is ids")
        self._rows.append(features)
        self.total += len(features)

    def __getitem__(self, index: int) -> Tensor | LazyFeatures:
        return self._rows[index]

    def length(self, index: int) -> int:
        return len(self._rows[index])
