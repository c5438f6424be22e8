"""The training pairs of one or several sources: filtered, counted, and in the order of an epoch.

Shares. A source of n pairs (those that no filter drops and that have two sides) gives k examples to an epoch. With
neither weights nor a temperature, k = n. Else k = p * N, rounded so that all k add up to N, the pairs of all sources:
p is its weight over the sum of weights, or n**(1/T) over the sum of these (Arivazhagan et al. 2019). A
source with k > n is read k // n times whole; of the rest, k % n pairs are drawn without replacement, in file order
(Knuth, The Art of Computer Programming, volume 2, section 3.4.2, algorithm S). The draw is a pure function of (seed,
epoch, source): in memory and streamed, fresh and resumed, an epoch holds the same examples.

Order. Sources are interleaved evenly, so that every stretch of an epoch holds the mix; that needs their sizes, and
`duplicates` needs all that came before. So several sources, or this filter, cost one reading of the files at the start
(`survey`), after which a byte a pair says what is dropped. One source without it is filtered on the way.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from antiphon.config import Shares, source_list
from antiphon.data.bad_rows import BadRows, How, sound
from antiphon.data.filters import Filters, Pair
from antiphon.data.lines import Cursor, DataPlace, DataRow
from antiphon.data.sources import pair, readers
from antiphon.errors import DataError
from antiphon.text.kinds import is_blank
from antiphon.text.task import Task


@dataclass
class DataReport:
    """What became of the pairs that were read: counts. Where a corpus is streamed, of an epoch up to now."""

    read: int = 0
    empty: int = 0  # skipped, since one side was empty or only white space
    dropped: dict[str, int] = field(default_factory=dict)  # by each filter
    too_long: int = 0  # skipped, with `overflow: skip`
    truncated: int = 0  # kept, with `overflow: truncate`
    bad: int = 0  # rows that cannot be read, with `bad_rows: skip`
    so_far: bool = False  # whether more is read later

    def begin_epoch(self, *, counted: bool) -> None:
        """Counts anew; where all pairs were `counted` before, only what depends on their tokens."""
        self.too_long = self.truncated = 0
        if not counted:
            self.read = self.empty = self.bad = 0
            self.dropped = {}

    @property
    def kept(self) -> int:
        """Those that are learned from."""
        return self.read - self.bad - self.empty - sum(self.dropped.values()) - self.too_long

    def nothing_left(self) -> DataError:
        """The error where no pair is learned from."""
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
    """How far an epoch has come in one source: behind which row, in which reading of it, and the counts so far."""

    cursor: Cursor
    lap: int = 0  # how often it was read to the end in this epoch
    read: int = 0  # pairs read in this lap
    number: int = 0  # those of them that were not dropped
    taken: int = 0  # those given in this epoch


class MixtureItem(NamedTuple):
    """A pair to learn from: its texts, where it stands, its number among all pairs kept, and the spot behind it.

    Of `plain` text, the target is the text, and the source only what stands before it: an objective makes a pair of it.
    """

    source: str
    target: str
    place: DataPlace
    number: int
    spot: MixturePosition
    plain: bool = False


class Mixture:
    """The pairs of `data` (DataConfig.train or .valid), made by `task`, filtered, in the shares of an epoch."""

    def __init__(
        self,
        data: object,
        task: Task,
        filters: Filters | None = None,
        shares: Shares | None = None,
        *,
        bad_rows: How = "error",
    ) -> None:
        self.bad_rows: How = bad_rows
        self.counts: list[int] | None = None  # the pairs kept of each source, once they were counted
        self.data = data
        self._readers = readers(data)
        self._names = [source.title for source in source_list(data)] or ["pairs"]
        self._task, self._filters, self._shares = task, filters or Filters({}), shares or Shares()
        self._dropped: list[bytearray] = []  # of each source, a byte for each pair read

    @property
    def mixed(self) -> bool:
        """Whether an epoch is anything but each pair once."""
        return self._shares != Shares()

    @property
    def needs_survey(self) -> bool:
        """Whether the pairs must be counted before they can be streamed."""
        return len(self._readers) > 1 or self._filters.remember

    def once(self, report: DataReport) -> Iterator[MixtureItem]:
        """Each pair that is kept, source by source; counts the sources as it goes."""
        drops, before = self._sieve(report), 0
        self.counts = []
        for number in range(len(self._readers)):
            spot = MixturePosition(Cursor(number))
            for item in self._kept(spot, drops, before, report):
                yield item
                spot = item.spot
            self.counts.append(spot.number)
            before += spot.number
        self._refuse_empty()

    def survey(self, report: DataReport) -> None:
        """Reads everything once, to know how much each source has and what the filters drop."""
        report.so_far = False
        drops, self.counts, self._dropped = self._sieve(report), [], []
        for number, reader in enumerate(self._readers):
            marks = bytearray()
            for row, sides in self._sound(reader(Cursor(number)), report):
                marks.append(drops(Pair(*sides, row)))
            self.counts.append(marks.count(0))
            self._dropped.append(marks)
        self._refuse_empty()

    def tops(self) -> tuple[MixturePosition, ...]:
        """Where an epoch begins."""
        return tuple(MixturePosition(Cursor(number)) for number in range(len(self._readers)))

    def epoch(
        self, spots: Sequence[MixturePosition], *, seed: int, epoch: int, report: DataReport
    ) -> Iterator[MixtureItem]:
        """The pairs of an epoch behind `spots`, sources interleaved: item t of k stands at (t + 1/2) / k."""
        sizes: Sequence[float] = [math.inf] if self.counts is None else self.sizes()
        drops = self._sieve(report) if self.counts is None else None
        both = list(zip(spots, sizes, strict=True))
        noted = None if drops is None else report
        streams = [self._draw(spot, size, f"{seed} {epoch} {spot.cursor.source}", drops, noted) for spot, size in both]
        waiting = [(_when(spot.taken, size), number) for number, (spot, size) in enumerate(both) if spot.taken < size]
        heapq.heapify(waiting)
        while waiting:
            _, number = heapq.heappop(waiting)
            item = next(streams[number], None)
            if item is None:
                continue
            yield item
            if item.spot.taken < sizes[number]:
                heapq.heappush(waiting, (_when(item.spot.taken, sizes[number]), number))

    def sizes(self) -> list[int]:
        """How many examples each source gives to an epoch; they add up to all the pairs there are."""
        assert self.counts is not None
        return share_out(self.counts, self._shares)

    def chosen(self, *, seed: int, epoch: int) -> Iterator[int]:
        """The numbers of the pairs of an epoch, source by source, as often as they occur."""
        assert self.counts is not None
        before = 0
        for source, (count, size) in enumerate(zip(self.counts, self.sizes(), strict=True)):
            for lap in range(-(-size // count) if count else 0):
                taken = draw(count, size - lap * count, f"{seed} {epoch} {source} {lap}")
                yield from (before + number for number, take in enumerate(taken) if take)
            before += count

    def _sieve(self, report: DataReport) -> Callable[[Pair], bool]:
        """Whether a pair is dropped; counts into `report`."""
        first = self._filters.begin()
        report.dropped = dict.fromkeys(self._filters.names, 0)

        def drops(one: Pair) -> bool:
            report.read += 1
            if is_blank(one.source) or is_blank(one.target):
                report.empty += 1
                return True
            name = first(one)
            if name is not None:
                report.dropped[name] += 1
            return name is not None

        return drops

    def _sound(self, rows: Iterator[DataRow], report: DataReport | None) -> Iterator[tuple[DataRow, tuple[str, str]]]:
        """The rows that can be read, with their source and target; `report` counts bad ones that are left out."""

        def found(_: str) -> None:
            if report is not None:
                report.read, report.bad = report.read + 1, report.bad + 1

        return sound(rows, lambda row: pair(row, self._task), BadRows(self.bad_rows, found))

    def _kept(
        self, spot: MixturePosition, drops: Callable[[Pair], bool] | None, before: int, report: DataReport | None
    ) -> Iterator[MixtureItem]:
        """The pairs of a source behind `spot` that are not dropped, `before` being the pairs of the sources before."""
        source = spot.cursor.source
        for row, sides in self._sound(self._readers[source](spot.cursor), report):
            one = Pair(*sides, row)
            dropped = self._dropped_before(source, spot.read) if drops is None else drops(one)
            spot = spot._replace(cursor=row.cursor, read=spot.read + 1, number=spot.number + (not dropped))
            if not dropped:
                source_text = row.front if row.plain else row.front + one.source
                yield MixtureItem(source_text, one.target, row.place, before + spot.number - 1, spot, row.plain)

    def _draw(
        self,
        spot: MixturePosition,
        size: float,
        key: str,
        drops: Callable[[Pair], bool] | None,
        report: DataReport | None,
    ) -> Iterator[MixtureItem]:
        """The pairs that a source gives to an epoch behind `spot`: `size` of them, in as many readings as it takes."""
        source, taken = spot.cursor.source, spot.taken
        count = None if self.counts is None else self.counts[source]
        before = sum(self.counts[:source]) if self.counts else 0
        while taken < size:
            picks = None if count is None else draw(count, size - spot.lap * count, f"{key} {spot.lap}")
            picks = islice(picks, spot.number, None) if picks else None
            for item in self._kept(spot, drops, before, report):
                if picks is None or next(picks):
                    taken += 1
                    yield item._replace(spot=item.spot._replace(taken=taken))
            if picks is None:
                return
            if next(picks, None) is not None:
                raise self._changed(source)
            spot = MixturePosition(Cursor(source), lap=spot.lap + 1, taken=taken)

    def _dropped_before(self, source: int, read: int) -> bool:
        """Whether the survey dropped the pair behind `read` others."""
        if read >= len(self._dropped[source]):
            raise self._changed(source)
        return bool(self._dropped[source][read])

    def _changed(self, source: int) -> DataError:
        problem = "must hold the same pairs while it is learned from, but changed since it was counted"
        return DataError(f"the data `{self._names[source]}` {problem}. Start a new run.")

    def _refuse_empty(self) -> None:
        for name, count in zip(self._names, self.counts or (), strict=True):
            if self.mixed and not count:
                raise DataError(
                    f"a source with a share of an epoch must keep at least one pair, but `{name}` keeps none. "
                    "Drop it, or look at `data.filters`."
                )


def share_out(counts: Sequence[int], shares: Shares) -> list[int]:
    """How many examples each source gives to an epoch, rounded by the largest remainder; the sum is that of counts."""
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
    """For each of `count` things whether it is among the `size` drawn; all sets are equally likely (algorithm S)."""
    chance, left = random.Random(key), size
    for rest in range(count, 0, -1):
        take = rest * chance.random() < left
        left -= take
        yield take


def _when(taken: int, size: float) -> float:
    """Where in an epoch, from 0 to 1, a source of `size` examples gives the next one."""
    return (taken + 0.5) / size if size else 1.0
