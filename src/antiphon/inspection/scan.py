"""One pass over a data set: its counts, lengths, and findings with examples. Memory does not grow with the data.

scan = Scanner(task, checks=[encodings, copies]).run("train", data)
scan.found["untranslated"].count, scan.found["untranslated"].examples
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
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
from antiphon.inspection.source_files import FileFacts, SourceFiles, text_of
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
    `longest` is their maximum, for each side; of images and sound they count what `unit` says. `samples` are pairs of
    each source, spread evenly. `skipped` are the numbers, among the pairs that filters keep, of those whose files
    cannot be read.
    """

    split: str
    titles: tuple[str, ...]
    report: DataReport = field(default_factory=DataReport)
    checked: int = 0
    found: dict[str, Found] = field(default_factory=lambda: {name: Found() for name in KINDS})
    lengths: list[NDArray[np.int64]] = field(default_factory=list)
    longest: list[int] = field(default_factory=lambda: [0, 0])
    samples: dict[int, PairSample] = field(default_factory=dict)
    unit: str = "characters"
    skipped: set[int] = field(default_factory=set)


class Scanner:
    """Reads data sets of a recipe with some checks. `files` looks into sources that are images or sound."""

    def __init__(
        self, task: Task, checks: Sequence[Check], *, conflicts: bool = False, files: SourceFiles | None = None
    ) -> None:
        self.task, self.checks, self.conflicts, self.files = task, checks, conflicts, files

    def run(self, split: str, data: object, titles: tuple[str, ...], filters: Filters | None = None) -> Scan:
        """Read `data`; `filters` are those of the recipe, which act on training pairs. DataError for a fault of a whole
        file, for example a missing one."""
        import numpy as np

        scan = Scan(split, titles, lengths=[np.zeros(MAX_CHARACTERS + 1, np.int64) for _ in range(2)])
        scan.unit = "characters" if self.files is None else self.files.unit
        repeats, numbered = RepeatFinder(), 0
        for chunk in self._chunks(data, scan, filters):
            self._check(chunk, scan)
            keys = map(hash, chunk.sources) if chunk.files is None else (facts.hash for facts in chunk.files)
            hashes = [np.fromiter(each, np.int64, len(chunk.pairs)) for each in (keys, map(hash, chunk.targets))]
            prefixes = np.fromiter((hash(pair.row.source_prefix) for pair in chunk.pairs), np.int64, len(chunk.pairs))
            repeats.add(hashes[0] ^ (prefixes * 31), hashes[1], numbered)
            numbered += len(chunk.pairs)
        self._repeats(repeats.find(EXAMPLES), data, scan, filters)
        return scan

    def _chunks(self, data: object, scan: Scan, filters: Filters | None) -> Iterator[Chunk]:
        """The pairs that training would use, source by source; counts the others."""
        for number, pairs in self._pairs(data, scan, filters):
            sample = scan.samples.setdefault(number, PairSample())
            held = _Held(number)
            for each, facts in self._looked(pairs, scan):
                held.add(each if self.files is None else self.files.passing(each), facts)
                sample.add(each, None if self.files is None else self.files.sampled)
                if len(held.pairs) == CHUNK_PAIRS or held.characters > CHUNK_CHARACTERS:
                    yield held.chunk()
                    held = _Held(number)
            if held.pairs:
                yield held.chunk()

    def _looked(self, pairs: Iterator[Pair], scan: Scan) -> Iterator[tuple[Pair, FileFacts | None]]:
        """The pairs with what is in their files, if sources are files; those that cannot be read are a finding."""
        files = self.files
        if files is None:
            yield from zip(pairs, repeat(None))
            return
        for number, each in enumerate(pairs, scan.checked + len(scan.skipped)):
            try:
                facts = files.look(each)
            except DataError as error:
                scan.skipped.add(number)
                scan.report.bad += 1
                scan.found["unreadable"].add(ExampleRow(str(each.row.place), "", "", str(error)))
                continue
            yield each, facts

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
        sources = map(len, chunk.sources) if chunk.files is None else (facts.length for facts in chunk.files)
        for side, sizes in enumerate((sources, map(len, chunk.targets))):
            lengths = np.fromiter(sizes, np.int64, len(chunk.pairs))
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
            read = (each for number, each in enumerate(pairs) if number not in scan.skipped)
            rows = {n: each for n, each in enumerate(islice(read, max(numbers) + 1)) if n in numbers}
        for kind, count, shown in wanted:
            scan.found[kind].count = count
            for number, first in shown:
                note = f"as {rows[first].row.place}" if number in rows and first in rows else ""
                if number in rows:
                    scan.found[kind].examples.append(_row(rows[number], note))


@dataclass
class _Held:
    """Pairs of source `number` for the next chunk."""

    number: int
    pairs: list[Pair] = field(default_factory=list)
    facts: list[FileFacts] = field(default_factory=list)
    characters: int = 0

    def add(self, pair: Pair, facts: FileFacts | None) -> None:
        self.pairs.append(pair)
        self.characters += len(pair.source) + len(pair.target)
        if facts is not None:
            self.facts.append(facts)

    def chunk(self) -> Chunk:
        sources = [text_of(pair.source) for pair in self.pairs] if self.facts else [pair.source for pair in self.pairs]
        return Chunk(self.number, self.pairs, sources, [pair.target for pair in self.pairs], self.facts or None)


def _row(each: Pair, note: str) -> ExampleRow:
    source, target = each.source[:_SHOWN_CHARACTERS], each.target[:_SHOWN_CHARACTERS]
    return ExampleRow(str(each.row.place), source, target, note)
