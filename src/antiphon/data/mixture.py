"""Mixes the training pairs of one or several sources: filtering, counting, sampling shares, and interleaving.

Shares. A source with n pairs (not dropped by a filter, neither side empty) contributes k examples to an epoch. Without
weights or a temperature, k = n. Else k = p * N, rounded so that the k of all sources add up to N, the total number of
pairs. p is the normalized weight of the source, or n**(1/T) normalized over the sources (Arivazhagan et al. 2019). A
source with k > n is repeated k // n times, and the remaining k % n pairs are drawn without replacement, in file order
(Knuth, The Art of Computer Programming, volume 2, section 3.4.2, algorithm S). The draw is a pure function of (seed,
epoch, source), so an epoch holds the same examples in memory and streamed, uninterrupted and resumed.

Order. The shards of a source are read in an order drawn for each epoch, `open_shards` of them at the same time: they
are dealt to that many streams, each with its part of k. Streams are interleaved evenly, so that every part of an epoch
has the same mix. Sources are mixed by their sizes, and the filter `duplicates` needs all earlier pairs. So several
sources, or this filter, cost one pass over the files at the start (`survey`), which stores one byte a pair: whether it
is dropped. A single source without it is filtered while training reads it, its streams a pair each in turn.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice
from typing import Literal, NamedTuple

from antiphon.config import Shares, is_files, source_list
from antiphon.data.bad_rows import BadRows, OnBadRow, readable_rows
from antiphon.data.epochs.data_report import DataReport
from antiphon.data.epochs.drawing import deal_shards, draw, interleave, share_out, split_size
from antiphon.data.filters import BATCH, Filters, Pair
from antiphon.data.lines import Cursor, DataPlace, DataRow
from antiphon.data.sources import pair, prefixed, readers, shard_readers
from antiphon.errors import DataError
from antiphon.text.kinds import is_blank
from antiphon.text.task import Task
from antiphon.urls import RemoteName

Drops = Callable[[Sequence[Pair]], list[bool]]  # says of each of some pairs whether it is dropped
LEARNED_PAIRS = 200_000  # of each source, for filters that learn from the training pairs
OPEN_SHARDS = 8
_SHARD_NUMBERS = 1 << 32  # the numbers of the pairs of a shard whose predecessors were not counted begin at a multiple


class MixturePosition(NamedTuple):
    """The position of an epoch in one stream: the cursor, and the counts so far. Without shards a source is one stream,
    its only shard."""

    cursor: Cursor
    repeat: int = 0  # how often the stream was read to its end in this epoch
    read: int = 0  # pairs read of this shard in this repeat
    number: int = 0  # of these, the pairs that were not dropped
    taken: int = 0  # pairs returned in this epoch
    stream: int = 0  # the number of the stream among all streams


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

    @property
    def taken(self) -> int:
        """The pairs of its stream that were returned in this epoch, with this one."""
        return self.position.taken


class StreamPlan(NamedTuple):
    """A stream of an epoch: its source, its shards in order, the examples that it gives (inf: all there are), and the
    key of its draws."""

    source: int
    shards: Sequence[int]
    size: float
    key: str


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
        open_shards: int = OPEN_SHARDS,
    ) -> None:
        self.bad_rows: OnBadRow = bad_rows
        self.shard_counts: list[list[int]] | None = None  # the kept pairs of each shard of each source, once counted
        self.data = data
        self.open_shards = open_shards
        self._readers = shard_readers(data)
        self._names = [source.title for source in source_list(data)] or ["pairs"]
        self._task, self._filters, self._shares = task, filters or Filters({}), shares or Shares()
        self._first_numbers: list[list[int]] = []  # of each shard of each source, once counted
        self._dropped: list[list[bytearray]] = []  # for each shard of each source a byte for each pair: 1 if dropped

    @property
    def counts(self) -> list[int] | None:
        """The number of kept pairs of each source, once counted."""
        return None if self.shard_counts is None else [sum(counts) for counts in self.shard_counts]

    @property
    def mixed(self) -> bool:
        """Whether shares are set, so that an epoch may repeat or omit pairs."""
        return self._shares != Shares()

    @property
    def needs_survey(self) -> bool:
        """Whether the pairs must be counted before they can be streamed."""
        return len(self._readers) > 1 or self._filters.remember

    def once(self, report: DataReport) -> Iterator[MixtureItem]:
        """Each kept pair once, source by source and shard by shard. Sets `counts`."""
        drops, base, counts = self.drop_function(report), 0, list[list[int]]()
        for source, shards in enumerate(self._readers):
            counts.append([])
            for shard in range(len(shards)):
                number = 0
                start = MixturePosition(Cursor(source, shard=shard))
                for one, read, number in self._kept_pairs(start, drops, report):
                    position = MixturePosition(one.row.cursor, 0, read, number, number)
                    yield _item(one, base + number - 1, position)
                counts[-1].append(number)
                base += number
        self._set_counts(counts)

    def survey(self, report: DataReport) -> None:
        """Read all data once, to count the pairs of each shard and to note which ones the filters drop."""
        report.so_far = False
        drops, counts, self._dropped = self.drop_function(report), list[list[int]](), []
        for source, shards in enumerate(self._readers):
            found: list[bytearray] = []
            for shard, reader in enumerate(shards):
                dropped = bytearray()
                for pairs in self._batches(reader.read(Cursor(source, shard=shard)), report):
                    dropped.extend(drops(pairs))
                found.append(dropped)
            counts.append([dropped.count(0) for dropped in found])
            self._dropped.append(found)
        self._set_counts(counts)

    def start_positions(self, *, seed: int = 0, epoch: int = 0) -> tuple[MixturePosition, ...]:
        """The position in each stream at the start of an epoch."""
        plans = self.streams(seed=seed, epoch=epoch)
        return tuple(
            MixturePosition(Cursor(plan.source, shard=plan.shards[0]), stream=n) for n, plan in enumerate(plans)
        )

    def streams(self, *, seed: int, epoch: int) -> list[StreamPlan]:
        """The streams of an epoch."""
        sizes, plans = self.sizes() if self.shard_counts is not None else None, list[StreamPlan]()
        for source, shards in enumerate(self._readers):
            key = f"{seed} {epoch} {source}"
            dealt = deal_shards(len(shards), self.open_shards, f"{key} shards")
            parts: Sequence[float] = [math.inf] * len(dealt)
            if sizes is not None and self.shard_counts is not None:
                counts = self.shard_counts[source]
                parts = split_size(sizes[source], [sum(counts[shard] for shard in own) for own in dealt])
            for number, (own, size) in enumerate(zip(dealt, parts, strict=True)):
                plans.append(StreamPlan(source, own, size, key if len(dealt) == 1 else f"{key} {number}"))
        return plans

    def epoch(
        self, positions: Sequence[MixturePosition], *, seed: int, epoch: int, report: DataReport
    ) -> Iterator[MixtureItem]:
        """The pairs of an epoch after `positions`. Streams are interleaved: item t of k is due at (t + 1/2) / k."""
        plans = self.streams(seed=seed, epoch=epoch)
        read = self.stream_reader(report)
        streams = [read(plan, at) for plan, at in zip(plans, positions, strict=True)]
        return interleave(streams, [at.taken for at in positions], [plan.size for plan in plans])

    def stream_reader(self, report: DataReport) -> Callable[[StreamPlan, MixturePosition], Iterator[MixtureItem]]:
        """A function that reads a stream of an epoch after a position; `report` counts what is not counted already."""
        if self.shard_counts is not None:
            return partial(self._drawn, drops=None, report=None)
        return partial(self._drawn, drops=self.drop_function(report), report=report)

    def sizes(self) -> list[int]:
        """The number of examples of each source in an epoch; they add up to the total number of pairs."""
        assert self.counts is not None
        return share_out(self.counts, self._shares)

    def chosen(self, *, seed: int, epoch: int) -> Iterator[int]:
        """The numbers of the pairs of an epoch, stream by stream; repeated pairs occur several times."""
        assert self.shard_counts is not None
        for plan in self.streams(seed=seed, epoch=epoch):
            counts, size = self.shard_counts[plan.source], int(plan.size)
            first = [self._first_number(plan.source, shard) for shard in range(len(counts))]
            numbers = [first[shard] + place for shard in plan.shards for place in range(counts[shard])]
            for repeat in range(-(-size // len(numbers)) if numbers else 0):
                taken = draw(len(numbers), size - repeat * len(numbers), f"{plan.key} {repeat}")
                yield from (number for number, take in zip(numbers, taken, strict=True) if take)

    def drop_function(self, report: DataReport) -> Drops:
        """A function that says of each of some pairs whether it is dropped, and counts it in `report`."""
        first = self._filters.begin(self.pairs_to_learn)
        report.dropped = dict.fromkeys(self._filters.names, 0)
        any_filter = bool(self._filters.names)

        def drops(pairs: Sequence[Pair]) -> list[bool]:
            report.read += len(pairs)
            empty = [is_blank(one.source) or is_blank(one.target) for one in pairs]
            report.empty += sum(empty)
            if not any_filter:
                return empty
            names = iter(first([one for one, blank in zip(pairs, empty, strict=True) if not blank]))
            found = [None if blank else next(names) for blank in empty]
            for name in found:
                if name is not None:
                    report.dropped[name] += 1
            return [blank or name is not None for blank, name in zip(empty, found, strict=True)]

        return drops

    def _batches(self, rows: Iterator[DataRow], report: DataReport | None) -> Iterator[list[Pair]]:
        """The readable rows as pairs, BATCH of them together, as the filters work best with."""
        pairs = (Pair(*sides, row) for row, sides in self._readable(rows, report))
        while batch := list(islice(pairs, BATCH)):
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
        self, start: MixturePosition, drops: Drops | None, report: DataReport | None
    ) -> Iterator[tuple[Pair, int, int]]:
        """The kept pairs of the shard of `start` after it, with the pairs read and kept of the shard until then."""
        source, shard, read, number = start.cursor.source, start.cursor.shard, start.read, start.number
        known = self._dropped[source][shard] if drops is None else None
        for pairs in self._batches(self._readers[source][shard].read(start.cursor), report):
            if drops is not None:
                dropped: Sequence[int] = drops(pairs)
            else:
                assert known is not None
                if read + len(pairs) > len(known):
                    raise self._changed(source)
                dropped = known[read : read + len(pairs)]
            for one, drop in zip(pairs, dropped, strict=True):
                read += 1
                if not drop:
                    number += 1
                    yield one, read, number

    def _drawn(
        self, plan: StreamPlan, start: MixturePosition, *, drops: Drops | None, report: DataReport | None
    ) -> Iterator[MixtureItem]:
        """The pairs of a stream in an epoch after `start`, `plan.size` in all; it is repeated as needed."""
        source, taken, stream, repeat = plan.source, start.taken, start.stream, start.repeat
        counts = None if self.shard_counts is None else self.shard_counts[source]
        whole = 0 if counts is None else sum(counts[shard] for shard in plan.shards)
        while taken < plan.size:
            picks: Iterator[bool] | None = None
            place = plan.shards.index(start.cursor.shard)
            if counts is not None:
                picks = draw(whole, plan.size - repeat * whole, f"{plan.key} {repeat}")
                done = sum(counts[shard] for shard in plan.shards[:place]) + start.number
                picks = islice(picks, done, None)
            for shard in plan.shards[place:]:
                if shard != start.cursor.shard:
                    start = MixturePosition(Cursor(source, shard=shard))
                base = self._first_number(source, shard)
                for one, read, number in self._kept_pairs(start, drops, report):
                    if picks is not None:
                        take = next(picks, None)
                        if take is None:
                            raise self._changed(source)
                        if not take:
                            continue
                    taken += 1
                    position = MixturePosition(one.row.cursor, repeat, read, number, taken, stream)
                    yield _item(one, base + number - 1, position)
            if picks is None:
                return
            if next(picks, None) is not None:
                raise self._changed(source)
            repeat += 1
            start = MixturePosition(Cursor(source, shard=plan.shards[0]))

    def _first_number(self, source: int, shard: int) -> int:
        """The number of the first kept pair of a shard: among all pairs once they are counted."""
        return shard * _SHARD_NUMBERS if self.shard_counts is None else self._first_numbers[source][shard]

    def shard_title(self, source: int, shard: int) -> str:
        """The name of a shard in messages."""
        return self._readers[source][shard].title

    def may_be_read_twice(self, source: int) -> bool:
        """Whether several processes may read the same shards: they are on this machine, or have a cache."""
        if not is_files(self.data):
            return True
        known = source_list(self.data)[source]
        if known.hub is not None:
            return os.path.isdir(known.hub)
        return all(not isinstance(file, RemoteName) or file.cache is not None for file in known.files)

    def _set_counts(self, counts: list[list[int]]) -> None:
        ends = accumulate((count for of_source in counts for count in of_source), initial=0)
        self._first_numbers = [[next(ends) for _ in of_source] for of_source in counts]
        self.shard_counts = counts
        self._refuse_empty()

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


def _item(one: Pair, number: int, position: MixturePosition) -> MixtureItem:
    row = one.row
    text = row.source_prefix if row.plain else prefixed(row, one.source)
    return MixtureItem(text, one.target, row.place, number, position, row.plain)
