"""Mixes the training pairs of one or several sources: filtering, counting, sampling shares, and interleaving.

Shares. A source with n pairs (not dropped by a filter, neither side empty) contributes k examples to an epoch. Without
weights or a temperature, k = n. Else k = p * N, rounded so that the k of all sources add up to N, the total number of
pairs. p is the normalized weight of the source, or n**(1/T) normalized over the sources (Arivazhagan et al. 2019). A
source with k > n is repeated k // n times, and the remaining k % n pairs are drawn without replacement, in file order
(Knuth, The Art of Computer Programming, volume 2, section 3.4.2, algorithm S). The draw is a pure function of (seed,
epoch, source), so an epoch holds the same examples in memory and streamed, uninterrupted and resumed.

Order. Sources are interleaved evenly, so that every part of an epoch has the same mix. This needs their sizes, and the
filter `duplicates` needs all earlier pairs. So several sources, or this filter, cost one pass over the files at the
start (`survey`), which stores one byte a pair: whether it is dropped. A single source without it is filtered while
training reads it.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from antiphon.config import Shares, source_list
from antiphon.data.bad_rows import BadRows, OnBadRow, readable_rows
from antiphon.data.filters import Filters, Pair
from antiphon.data.lines import Cursor, DataPlace, DataRow
from antiphon.data.sources import pair, readers
from antiphon.errors import DataError
from antiphon.text.kinds import is_blank
from antiphon.text.task import Task

Drops = Callable[[Sequence[Pair]], list[bool]]  # says of each of some pairs whether it is dropped
LEARNED_PAIRS = 200_000  # of each source, for filters that learn from the training pairs


@dataclass
class DataReport:
    """Counts of the pairs that were read, kept and dropped. For a streamed corpus: in the current epoch so far."""

    read: int = 0
    empty: int = 0  # skipped: a side was empty or only white space
    dropped: dict[str, int] = field(default_factory=dict)  # name of a filter -> pairs that it dropped
    too_long: int = 0  # skipped by `overflow: skip`
    truncated: int = 0  # kept, truncated by `overflow: truncate`
    bad: int = 0  # unreadable rows skipped by `bad_rows: skip`
    so_far: bool = False  # whether more pairs will be read

    def begin_epoch(self, *, counted: bool) -> None:
        """Reset the counts for an epoch. If all pairs are `counted` already, only those that depend on tokens."""
        self.too_long = self.truncated = 0
        if not counted:
            self.read = self.empty = self.bad = 0
            self.dropped = {}

    @property
    def kept(self) -> int:
        """The number of pairs used for training."""
        return self.read - self.bad - self.empty - sum(self.dropped.values()) - self.too_long

    def nothing_left(self) -> DataError:
        """The error for data without a single usable pair."""
        remedy = "Give it pairs with two sides."
        if self.dropped:
            remedy = "Loosen `data.filters`."
        elif self.too_long:
            remedy = "Raise `data.max_length` (and `model.max_length`), or set `data.overflow` to truncate."
        return DataError(f"the data must hold at least one pair to learn from, but {self}. {remedy}")

    def __str__(self) -> str:
        parts = [f"{self.read:,} pairs read{' so far' if self.so_far else ''}", f"{self.kept:,} kept"]
        parts += [f"{self.bad:,} bad rows left out"] * (self.bad > 0)
        parts += [f"{self.empty:,} skipped with an empty side"] * (self.empty > 0)
        parts += [f"{count:,} dropped by {name}" for name, count in self.dropped.items()]
        parts += [f"{self.too_long:,} skipped as too long"] * (self.too_long > 0)
        parts += [f"{self.truncated:,} truncated"] * (self.truncated > 0)
        return ", ".join(parts)


class MixturePosition(NamedTuple):
    """The position of an epoch in one source: the cursor, and the counts so far."""

    cursor: Cursor
    repeat: int = 0  # how often the source was read to its end in this epoch
    read: int = 0  # pairs read in this repeat
    number: int = 0  # pairs read in this repeat that were not dropped
    taken: int = 0  # pairs returned in this epoch


class MixtureItem(NamedTuple):
    """A training pair: its texts, location, number among all kept pairs, and the position after it.

    For `plain` text the target is the text and the source is only its prefix; a denoising objective makes the pair.
    """

    source: str
    target: str
    place: DataPlace
    number: int
    position: MixturePosition
    plain: bool = False


class Mixture:
    """The pairs of `data` (DataConfig.train or .valid), made by `task`, filtered, and sampled in their shares."""

    def __init__(
        self,
        data: object,
        task: Task,
        filters: Filters | None = None,
        shares: Shares | None = None,
        *,
        bad_rows: OnBadRow = "error",
    ) -> None:
        self.bad_rows: OnBadRow = bad_rows
        self.counts: list[int] | None = None  # the number of kept pairs of each source, once counted
        self.data = data
        self._readers = readers(data)
        self._names = [source.title for source in source_list(data)] or ["pairs"]
        self._task, self._filters, self._shares = task, filters or Filters({}), shares or Shares()
        self._dropped: list[bytearray] = []  # for each source, a byte for each pair: 1 if dropped

    @property
    def mixed(self) -> bool:
        """Whether shares are set, so that an epoch may repeat or omit pairs."""
        return self._shares != Shares()

    @property
    def needs_survey(self) -> bool:
        """Whether the pairs must be counted before they can be streamed."""
        return len(self._readers) > 1 or self._filters.remember

    def once(self, report: DataReport) -> Iterator[MixtureItem]:
        """Each kept pair once, source by source. Sets `counts`."""
        drops, before = self._drop_function(report), 0
        self.counts = []
        for number in range(len(self._readers)):
            position = MixturePosition(Cursor(number))
            for item in self._kept_pairs(position, drops, before, report):
                yield item
                position = item.position
            self.counts.append(position.number)
            before += position.number
        self._refuse_empty()

    def survey(self, report: DataReport) -> None:
        """Read all data once, to count the pairs of each source and to note which ones the filters drop."""
        report.so_far = False
        drops, self.counts, self._dropped = self._drop_function(report), [], []
        for number, reader in enumerate(self._readers):
            dropped = bytearray()
            for pairs in self._batches(reader(Cursor(number)), report):
                dropped.extend(drops(pairs))
            self.counts.append(dropped.count(0))
            self._dropped.append(dropped)
        self._refuse_empty()

    def start_positions(self) -> tuple[MixturePosition, ...]:
        """The position in each source at the start of an epoch."""
        return tuple(MixturePosition(Cursor(number)) for number in range(len(self._readers)))

    def epoch(
        self, positions: Sequence[MixturePosition], *, seed: int, epoch: int, report: DataReport
    ) -> Iterator[MixtureItem]:
        """The pairs of an epoch after `positions`. Sources are interleaved: item t of k is due at (t + 1/2) / k."""
        sizes: Sequence[float] = [math.inf] if self.counts is None else self.sizes()
        drops = self._drop_function(report) if self.counts is None else None
        both = list(zip(positions, sizes, strict=True))
        counted = None if drops is None else report
        streams = [self._draw(at, size, f"{seed} {epoch} {at.cursor.source}", drops, counted) for at, size in both]
        waiting = [(_due(at.taken, size), number) for number, (at, size) in enumerate(both) if at.taken < size]
        heapq.heapify(waiting)
        while waiting:
            _, number = heapq.heappop(waiting)
            item = next(streams[number], None)
            if item is None:
                continue
            yield item
            if item.position.taken < sizes[number]:
                heapq.heappush(waiting, (_due(item.position.taken, sizes[number]), number))

    def sizes(self) -> list[int]:
        """The number of examples of each source in an epoch; they add up to the total number of pairs."""
        assert self.counts is not None
        return share_out(self.counts, self._shares)

    def chosen(self, *, seed: int, epoch: int) -> Iterator[int]:
        """The numbers of the pairs of an epoch, source by source; repeated pairs occur several times."""
        assert self.counts is not None
        before = 0
        for source, (count, size) in enumerate(zip(self.counts, self.sizes(), strict=True)):
            for repeat in range(-(-size // count) if count else 0):
                taken = draw(count, size - repeat * count, f"{seed} {epoch} {source} {repeat}")
                yield from (before + number for number, take in enumerate(taken) if take)
            before += count

    def _drop_function(self, report: DataReport) -> Drops:
        """A function that says of each of some pairs whether it is dropped, and counts it in `report`."""
        first = self._filters.begin(self.pairs_to_learn)
        report.dropped = dict.fromkeys(self._filters.names, 0)

        def drops(pairs: Sequence[Pair]) -> list[bool]:
            report.read += len(pairs)
            empty = [is_blank(one.source) or is_blank(one.target) for one in pairs]
            report.empty += sum(empty)
            names = iter(first([one for one, blank in zip(pairs, empty, strict=True) if not blank]))
            found = [None if blank else next(names) for blank in empty]
            for name in found:
                if name is not None:
                    report.dropped[name] += 1
            return [blank or name is not None for blank, name in zip(empty, found, strict=True)]

        return drops

    def _batches(self, rows: Iterator[DataRow], report: DataReport | None) -> Iterator[list[Pair]]:
        """The readable rows as pairs, as many together as the filters work best with."""
        pairs = (Pair(*sides, row) for row, sides in self._readable(rows, report))
        while batch := list(islice(pairs, self._filters.batch)):
            yield batch

    def pairs_to_learn(self, which: Literal["train", "held_out"]) -> Iterator[Pair]:
        """The pairs that filters learn from: the first LEARNED_PAIRS of each training source, or all held-out ones."""
        for data in [self.data] if which == "train" else self._filters.held_out:
            for number, read in enumerate(readers(data)):
                found = self._readable(read(Cursor(number)), None)
                for row, sides in islice(found, LEARNED_PAIRS if which == "train" else None):
                    yield Pair(*sides, row)

    def _readable(
        self, rows: Iterator[DataRow], report: DataReport | None
    ) -> Iterator[tuple[DataRow, tuple[str, str]]]:
        """The readable rows with their source and target; skipped bad rows are counted in `report`."""

        def count_bad(_: str) -> None:
            if report is not None:
                report.read, report.bad = report.read + 1, report.bad + 1

        return readable_rows(rows, lambda row: pair(row, self._task), BadRows(self.bad_rows, count_bad))

    def _kept_pairs(
        self,
        position: MixturePosition,
        drops: Drops | None,
        before: int,
        report: DataReport | None,
    ) -> Iterator[MixtureItem]:
        """The kept pairs of a source after `position`; `before` is the number of pairs of the sources before it."""
        source = position.cursor.source
        for pairs in self._batches(self._readers[source](position.cursor), report):
            known = None if drops is None else drops(pairs)
            for place, one in enumerate(pairs):
                row = one.row
                dropped = self._dropped_by_survey(source, position.read) if known is None else known[place]
                read, number = position.read + 1, position.number + (not dropped)
                position = position._replace(cursor=row.cursor, read=read, number=number)
                if not dropped:
                    text = row.source_prefix if row.plain else row.source_prefix + one.source
                    yield MixtureItem(text, one.target, row.place, before + number - 1, position, row.plain)

    def _draw(
        self,
        position: MixturePosition,
        size: float,
        key: str,
        drops: Drops | None,
        report: DataReport | None,
    ) -> Iterator[MixtureItem]:
        """The pairs of a source in an epoch after `position`, `size` in all; the source is repeated as needed."""
        source, taken = position.cursor.source, position.taken
        count = None if self.counts is None else self.counts[source]
        before = sum(self.counts[:source]) if self.counts else 0
        while taken < size:
            picks = None if count is None else draw(count, size - position.repeat * count, f"{key} {position.repeat}")
            picks = islice(picks, position.number, None) if picks else None
            for item in self._kept_pairs(position, drops, before, report):
                if picks is None or next(picks):
                    taken += 1
                    yield item._replace(position=item.position._replace(taken=taken))
            if picks is None:
                return
            if next(picks, None) is not None:
                raise self._changed(source)
            position = MixturePosition(Cursor(source), repeat=position.repeat + 1, taken=taken)

    def _dropped_by_survey(self, source: int, read: int) -> bool:
        """Whether the survey dropped pair number `read` of a source, from 0."""
        if read >= len(self._dropped[source]):
            raise self._changed(source)
        return bool(self._dropped[source][read])

    def _changed(self, source: int) -> DataError:
        problem = "must not change during training, but changed since its pairs were counted"
        return DataError(f"the data `{self._names[source]}` {problem}. Start a new run.")

    def _refuse_empty(self) -> None:
        for name, count in zip(self._names, self.counts or (), strict=True):
            if self.mixed and not count:
                raise DataError(
                    f"a source with a share of an epoch must keep at least one pair, but `{name}` keeps none. "
                    "Drop it, or look at `data.filters`."
                )


def share_out(counts: Sequence[int], shares: Shares) -> list[int]:
    """The number of examples of each source in an epoch, rounded by largest remainder to the sum of `counts`."""
    if shares == Shares():
        return list(counts)
    parts = shares.weights
    if parts is None:
        assert shares.temperature is not None
        logs = [math.log(max(count, 1)) / shares.temperature for count in counts]
        parts = tuple(math.exp(value - max(logs)) for value in logs)
    total, whole = sum(counts), math.fsum(parts)
    exact = [total * part / whole for part in parts]
    sizes = [math.floor(size) for size in exact]
    order = sorted(range(len(sizes)), key=lambda number: (sizes[number] - exact[number], number))
    for number in order[: total - sum(sizes)]:
        sizes[number] += 1
    return sizes


def draw(count: int, size: float, key: str) -> Iterator[bool]:
    """For each of `count` items whether it is in a uniform random sample of `size` (algorithm S)."""
    chance, left = random.Random(key), size
    for rest in range(count, 0, -1):
        take = rest * chance.random() < left
        left -= take
        yield take


def _due(taken: int, size: float) -> float:
    """The point of the epoch, from 0 to 1, at which the next example of a source of `size` examples is due."""
    return (taken + 0.5) / size if size else 1.0
