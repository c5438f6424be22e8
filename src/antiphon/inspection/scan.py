"""One pass over a data set: its counts, lengths, and findings with examples. Memory does not grow with the data.

scan = Scanner(task, checks=[encodings, copies]).run("train", data)
scan.found["untranslated"].count, scan.found["untranslated"].examples
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from antiphon.data import DataReport, Filters, Pair
from antiphon.data.checks.languages import PairSample
from antiphon.data.filters import BATCH
from antiphon.data.lines import Cursor, DataRow
from antiphon.data.mixture import Mixture
from antiphon.data.sources import pair, readers
from antiphon.errors import DataError
from antiphon.inspection.checks import Check, Chunk
from antiphon.inspection.kinds import KINDS
from antiphon.inspection.repeats import RepeatFinder, Repeats
from antiphon.text.kinds import is_blank
from antiphon.text.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Drops = Callable[[Sequence[Pair]], list[str | None]]
EXAMPLES = 5  # rows shown for each finding
CHUNK_PAIRS, CHUNK_CHARACTERS = 4096, 2_000_000
MAX_CHARACTERS = 1 << 16  # longer texts count as this long in the histogram
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class ExampleRow:
    """A row of a finding: file and line, the texts (their beginnings), and what is wrong with it."""

    place: str
    source: str
    target: str
    note: str = ""


@dataclass
class Found:
    """How often a kind of finding occurs, and the first rows."""

    count: int = 0
    examples: list[ExampleRow] = field(default_factory=list)

    def add(self, row: ExampleRow) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(row)


@dataclass
class Scan:
    """What is in a data set (`split`: train, valid or test).

    `checked` pairs are those that the filters of the recipe keep. `lengths` counts texts by their characters and
    `longest` is their maximum, for each side. `samples` are pairs of each source, spread evenly.
    """

    split: str
    titles: tuple[str, ...]
    report: DataReport = field(default_factory=DataReport)
    checked: int = 0
    found: dict[str, Found] = field(default_factory=lambda: {name: Found() for name in KINDS})
    lengths: list[NDArray[np.int64]] = field(default_factory=list)
    longest: list[int] = field(default_factory=lambda: [0, 0])
    samples: dict[int, PairSample] = field(default_factory=dict)


class Scanner:
    """Reads data sets of a recipe with some checks. `filters` are those of the recipe, which act on training pairs."""

    def __init__(self, task: Task, checks: Sequence[Check], *, conflicts: bool = False) -> None:
        self.task, self.checks, self.conflicts = task, checks, conflicts

    def run(self, split: str, data: object, titles: tuple[str, ...], filters: Filters | None = None) -> Scan:
        """Read `data`. DataError for a fault of a whole file, for example a missing one."""
        import numpy as np

        scan = Scan(split, titles, lengths=[np.zeros(MAX_CHARACTERS + 1, np.int64) for _ in range(2)])
        repeats, numbered = RepeatFinder(), 0
        for chunk in self._chunks(data, scan, filters):
            self._check(chunk, scan)
            hashes = [np.fromiter(map(hash, texts), np.int64, len(texts)) for texts in (chunk.sources, chunk.targets)]
            prefixes = np.fromiter((hash(pair.row.source_prefix) for pair in chunk.pairs), np.int64, len(chunk.pairs))
            repeats.add(hashes[0] ^ (prefixes * 31), hashes[1], numbered)
            numbered += len(chunk.pairs)
        self._repeats(repeats.find(EXAMPLES), data, scan, filters)
        return scan

    def _chunks(self, data: object, scan: Scan, filters: Filters | None) -> Iterator[Chunk]:
        """The pairs that training would use, source by source; counts the others."""
        for number, pairs in self._pairs(data, scan, filters):
            held: list[Pair] = []
            characters = 0
            sample = scan.samples.setdefault(number, PairSample())
            for each in pairs:
                held.append(each)
                sample.add(each)
                characters += len(each.source) + len(each.target)
                if len(held) == CHUNK_PAIRS or characters > CHUNK_CHARACTERS:
                    yield _chunk(number, held)
                    held, characters = [], 0
            if held:
                yield _chunk(number, held)

    def _pairs(self, data: object, scan: Scan, filters: Filters | None) -> Iterator[tuple[int, Iterator[Pair]]]:
        mixture = Mixture(data, self.task, filters, bad_rows="skip")
        acting = filters or Filters({})
        drops = acting.begin(mixture.pairs_to_learn)
        scan.report.dropped = dict.fromkeys([] if filters is None else filters.names, 0)
        for number, read in enumerate(readers(data)):
            yield number, self._kept(read(Cursor(number)), scan, drops)

    def _kept(self, rows: Iterator[DataRow], scan: Scan, drops: Drops) -> Iterator[Pair]:
        pairs = self._whole(rows, scan)
        while some := list(islice(pairs, BATCH)):
            for one, name in zip(some, drops(some), strict=True):
                if name is None:
                    yield one
                else:
                    scan.report.dropped[name] += 1

    def _whole(self, rows: Iterator[DataRow], scan: Scan) -> Iterator[Pair]:
        """The readable pairs with two sides; the others are counted and shown."""
        report, task = scan.report, self.task
        for row in rows:
            report.read += 1
            try:
                if row.fault is not None:
                    raise row.fault
                source, target = pair(row, task)
            except DataError as error:
                report.bad += 1
                scan.found["unreadable"].add(ExampleRow(str(row.place), "", "", str(error)))
                continue
            if is_blank(source) or is_blank(target):
                report.empty += 1
                sides = [name for name, text in (("source", source), ("target", target)) if is_blank(text)]
                scan.found["empty"].add(_row(Pair(source, target, row), " and ".join(sides)))
                continue
            yield Pair(source, target, row)

    def _check(self, chunk: Chunk, scan: Scan) -> None:
        import numpy as np

        scan.checked += len(chunk.pairs)
        for side, texts in enumerate((chunk.sources, chunk.targets)):
            lengths = np.fromiter(map(len, texts), np.int64, len(texts))
            scan.longest[side] = max(scan.longest[side], int(lengths.max()))
            counts = np.bincount(np.minimum(lengths, MAX_CHARACTERS))
            scan.lengths[side][: len(counts)] += counts
        for check in self.checks:
            for kind, index, note in check(chunk):
                scan.found[kind].add(_row(chunk.pairs[index], note))

    def _repeats(self, repeats: Repeats, data: object, scan: Scan, filters: Filters | None) -> None:
        """Enter the duplicates. Their rows are read again, up to the last one that is shown."""
        wanted = [("duplicates", repeats.count, repeats.duplicates)]
        wanted += [("conflicts", repeats.conflicts, repeats.conflicting)] if self.conflicts else []
        numbers = {number for _, _, shown in wanted for couple in shown for number in couple}
        rows: dict[int, Pair] = {}
        if numbers:
            again = Scan(scan.split, scan.titles)
            pairs = (each for _, found in self._pairs(data, again, filters) for each in found)
            rows = {n: each for n, each in enumerate(islice(pairs, max(numbers) + 1)) if n in numbers}
        for kind, count, shown in wanted:
            scan.found[kind].count = count
            for number, first in shown:
                note = f"as {rows[first].row.place}" if number in rows and first in rows else ""
                if number in rows:
                    scan.found[kind].examples.append(_row(rows[number], note))


def _chunk(number: int, pairs: list[Pair]) -> Chunk:
    return Chunk(number, pairs, [each.source for each in pairs], [each.target for each in pairs])


def _row(each: Pair, note: str) -> ExampleRow:
    source, target = each.source[:_SHOWN_CHARACTERS], each.target[:_SHOWN_CHARACTERS]
    return ExampleRow(str(each.row.place), source, target, note)
