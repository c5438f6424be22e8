"""Duplicates in constant memory: a 64-bit hash and the number of each pair, in files by the first bits of the hash.

Each pair takes 24 bytes of disk. At the end one file after the other is sorted, which takes 1/64 of that in memory. Two
different pairs count as equal with a probability of n**2 / 2**65: 3e-8 for a million, 3e-4 for a hundred million.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FILES = 64
_HELD = 1 << 20  # pairs below which nothing is put on disk


@dataclass(frozen=True)
class Repeats:
    """`duplicates`: numbers of pairs that occurred before, at most those asked for, each with the number of the first.
    `count` is the number of all of them, `conflicts` that of pairs whose source first occurred with another target."""

    count: int
    duplicates: list[tuple[int, int]]
    conflicts: int
    conflicting: list[tuple[int, int]]


class RepeatFinder:
    """Collects the hashes of pairs."""

    def __init__(self) -> None:
        self._held: list[NDArray[np.int64]] = []  # (pairs, 3): source, pair, number
        self._count = 0
        self._files: list[Any] = []

    def add(self, sources: NDArray[np.int64], targets: NDArray[np.int64], first: int) -> None:
        """Add the hashes of the sides of pairs, which are numbered from `first`."""
        import numpy as np

        mixed = (sources ^ (targets * np.int64(-7046029254386353131))) * np.int64(-4417276706812531889)
        self._held.append(np.stack([sources, mixed, np.arange(first, first + len(sources))], axis=1))
        self._count += len(sources)
        if self._count >= _HELD:
            self._spill()

    def _spill(self) -> None:
        import numpy as np

        if not self._files:
            self._files = [tempfile.TemporaryFile(prefix="antiphon-") for _ in range(_FILES)]  # noqa: SIM115
        rows = np.concatenate(self._held)
        places = rows[:, 0] & (_FILES - 1)  # by the source, so that equal sources are in one file too
        rows = rows[np.argsort(places, kind="stable")]
        ends = np.cumsum(np.bincount(places, minlength=_FILES))
        for file, part in zip(self._files, np.split(rows, ends[:-1]), strict=True):
            file.write(part.tobytes())
        self._held, self._count = [], 0

    def find(self, examples: int) -> Repeats:
        """The duplicates, with at most `examples` of each kind. The finder is empty afterwards."""
        import numpy as np

        found = Repeats(0, [], 0, [])
        parts = []
        if self._files:
            self._spill()
            for file in self._files:
                file.seek(0)
                parts.append(lambda file=file: np.frombuffer(file.read(), np.int64).reshape(-1, 3))
        elif self._held:
            rows = np.concatenate(self._held)
            parts.append(lambda: rows)
        for read in parts:
            found = _merged(found, _repeats(read(), examples), examples)
        for file in self._files:
            file.close()
        self._files, self._held, self._count = [], [], 0
        return found


def _repeats(rows: NDArray[np.int64], examples: int) -> Repeats:
    import numpy as np

    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]  # by source, pair, number
    same_source = rows[1:, 0] == rows[:-1, 0]
    same_pair = same_source & (rows[1:, 1] == rows[:-1, 1])
    places = same_pair.nonzero()[0] + 1
    starts = np.concatenate([[True], ~same_pair]) if len(rows) else np.zeros(0, bool)
    first_of = np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))  # the first of the equal pairs
    duplicates = sorted((int(rows[place, 2]), int(rows[first_of[place], 2])) for place in _some(rows, places, examples))
    rows = rows[np.lexsort((rows[:, 2], rows[:, 0]))]  # by source, number
    starts = np.concatenate([[True], rows[1:, 0] != rows[:-1, 0]]) if len(rows) else np.zeros(0, bool)
    first_of = np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))  # the first with the same source
    others = (rows[:, 1] != rows[first_of, 1]).nonzero()[0]
    conflicting = sorted(
        (int(rows[place, 2]), int(rows[first_of[place], 2])) for place in _some(rows, others, examples)
    )
    return Repeats(len(places), duplicates, len(others), conflicting)


def _some(rows: NDArray[np.int64], places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The `count` of `places` with the lowest numbers of pairs."""
    import numpy as np

    return places[np.argsort(rows[places, 2], kind="stable")[:count]]


def _merged(one: Repeats, two: Repeats, examples: int) -> Repeats:
    return Repeats(
        one.count + two.count,
        sorted([*one.duplicates, *two.duplicates])[:examples],
        one.conflicts + two.conflicts,
        sorted([*one.conflicting, *two.conflicting])[:examples],
    )
