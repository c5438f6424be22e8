"""Corpora of encoded pairs: held in memory, or streamed from files larger than memory.

    corpus = load_corpus(config.data.train, task=task, source_tokenizer=t, target_tokenizer=t, max_length=256)
    len(corpus), corpus[0], corpus.report

Both are read in pools: consecutive examples that fit in memory and are sorted and shuffled together (batching.py). An
in-memory corpus is one pool, a streamed one has many. The start of a pool is a `MixturePosition` for each stream, so
that a position can be saved and restored. mixture.py chooses the pairs of an epoch.
"""

from __future__ import annotations

import copy
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from antiphon.batch import Example, Source
from antiphon.config import Shares, is_files
from antiphon.data.bad_rows import OnBadRow
from antiphon.data.denoising import Objective, make_denoisers
from antiphon.data.epochs.collection import no_collection
from antiphon.data.epochs.data_report import DataReport
from antiphon.data.epochs.encoding import Encoded, ExampleEncoder, flattened
from antiphon.data.example_rows import FEATURES, FeatureRows, IdRows, MixedRows
from antiphon.data.filters import Filters
from antiphon.data.fingerprint import Fingerprints, fingerprints
from antiphon.data.lines import DataPlace
from antiphon.data.media.rows import MediaRow, MediaSources
from antiphon.data.mixture import OPEN_SHARDS, Mixture, MixturePosition
from antiphon.data.profile import DataProfile
from antiphon.data.sources import check_files, check_readable, text_bytes
from antiphon.data.workers.reader_pool import ReaderPool
from antiphon.errors import ConfigError
from antiphon.text import SegmentationSampler, Task, Tokenizer

STREAM_BYTES = 256 << 20  # bytes of text above which `streaming: auto` streams
POOL_TOKENS = 4_000_000  # tokens of both sides in a pool of a streamed corpus: about 60,000 sentence pairs, 16 MB


class PoolStart(NamedTuple):
    """The start of a pool: its number in the epoch, and the position in each stream (None: the start of the epoch)."""

    number: int = 0
    positions: tuple[MixturePosition, ...] | None = None


class ExamplePool(NamedTuple):
    """Consecutive examples of a corpus: where they begin, the examples, and the indices to use, repeats included."""

    start: PoolStart
    examples: InMemory
    chosen: Sequence[int]


class Corpus(Protocol):
    """The interface of a corpus that batching.py uses."""

    report: DataReport
    files: Fingerprints

    def pools(self, start: PoolStart, *, seed: int, epoch: int, first: float) -> Iterator[ExamplePool]:
        """The pools from `start` to the end of `epoch`. In a streamed corpus pool 0 has `first` times the full size."""
        ...


class InMemory:
    """Examples in two flat arrays, four bytes a token. `corpus[i]` is an Example; its `index` is the pair's number."""

    def __init__(self, examples: Iterable[Example] = (), *, mixture: Mixture | None = None) -> None:
        self.report, self.files = DataReport(), Fingerprints()
        self._source: IdRows | FeatureRows = IdRows()
        self._target = IdRows()
        self._lines, self._numbers = array("Q"), array("Q")
        self._places: list[tuple[int, str]] = []  # (first example, file), in order
        self._mixture = mixture
        for example in examples:
            self.append(example.source, example.target)
            self.report.read += 1

    def append(
        self, source: Source | MediaRow, target: list[int], place: DataPlace | None = None, number: int | None = None
    ) -> None:
        """Append a pair. `number` is its number among all pairs that were kept; by default its index here.

        TypeError if the sources before are ids and this one is features, or the other way round; but texts with images
        may stand beside texts without.
        """
        if isinstance(source, MediaRow) and source.media.kind.joins_text and not isinstance(self._source, MixedRows):
            self._source = MixedRows(source.media.kind, self._source)
        elif isinstance(source, FEATURES) and not len(self):
            self._source = FeatureRows()
        place = place or DataPlace("", len(self))
        self._numbers.append(len(self) if number is None else number)
        if not self._places or self._places[-1][1] != place.file:
            self._places.append((len(self), place.file))
        self._lines.append(place.line)
        self._source.append(source)
        self._target.append(target)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)  # ends `for example in corpus`
        return Example(self._source[index], self._target[index], self._numbers[index], self._source.prompt(index))

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def lengths(self, index: int) -> tuple[int, int]:
        """The length of the source of example `index`, and that of its target, after its prompt."""
        return self._source.length(index), len(self._source.prompt(index)) + self._target.length(index)

    def in_epoch(self, seed: int, epoch: int) -> InMemory:
        """The same examples, with the augmentations of an epoch; itself if its sources are ids."""
        if not isinstance(self._source, FeatureRows):
            return self
        made = copy.copy(self)
        made._source = self._source.at(seed, epoch)
        return made

    def place(self, index: int) -> DataPlace:
        """The file and line of example `index`."""
        file = self._places[bisect_right(self._places, index, key=lambda item: item[0]) - 1][1]
        return DataPlace(file, self._lines[index])

    @property
    def tokens(self) -> int:
        """The number of tokens, source and target together."""
        return self._source.total + self._target.total

    def pools(self, start: PoolStart, *, seed: int, epoch: int, first: float) -> Iterator[ExamplePool]:
        yield ExamplePool(PoolStart(), self.in_epoch(seed, epoch), self._chosen(seed, epoch))

    def _chosen(self, seed: int, epoch: int) -> Sequence[int]:
        """The indices of the examples of the epoch."""
        if self._mixture is None or not self._mixture.mixed:
            return range(len(self))
        numbers = self._mixture.chosen(seed=seed, epoch=epoch)
        if len(self) == sum(self._mixture.counts or ()):
            return list(numbers)
        # Pairs that were too long have a number but no example.
        places = ((bisect_left(self._numbers, number), number) for number in numbers)
        return [place for place, number in places if place < len(self) and self._numbers[place] == number]


@dataclass
class Streamed:
    """A corpus that is read again from its files in each epoch, one pool at a time; by `workers` processes, if any."""

    mixture: Mixture
    encoder: ExampleEncoder
    pool_tokens: float = POOL_TOKENS
    report: DataReport = field(default_factory=lambda: DataReport(so_far=True))
    files: Fingerprints = field(default_factory=dict)
    workers: int = 0
    _readers: ReaderPool | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mixture.needs_survey:
            self.mixture.survey(self.report)

    def pools(self, start: PoolStart, *, seed: int, epoch: int, first: float) -> Iterator[ExamplePool]:
        if start.number == 0:
            self.report.begin_epoch(counted=self.mixture.needs_survey)
        positions = list(start.positions or self.mixture.start_positions(seed=seed, epoch=epoch))
        encoded = self._encoded(tuple(positions), seed=seed, epoch=epoch)
        while True:
            pool_tokens = self.pool_tokens * (first if start.number == 0 else 1.0)
            with no_collection():
                pool, ended = self._pool(encoded, positions, pool_tokens)
            if len(pool):
                yield ExamplePool(start, pool.in_epoch(seed, epoch), range(len(pool)))
            if ended:
                return
            start = PoolStart(start.number + 1, tuple(positions))

    def _pool(
        self, encoded: Iterator[Encoded], positions: list[MixturePosition], pool_tokens: float
    ) -> tuple[InMemory, bool]:
        """The next pool, and whether it is the last one; `positions` are moved behind it."""
        pool = InMemory()
        for source, target, item, last in encoded:
            pool.append(source, target, item.place, item.number)
            positions[item.position.stream] = item.position
            # Reading can resume only between items, so a pool ends with a whole item.
            if last and pool.tokens >= pool_tokens:
                return pool, False
        return pool, True

    def _encoded(self, positions: Sequence[MixturePosition], *, seed: int, epoch: int) -> Iterator[Encoded]:
        """The examples of an epoch after `positions`; the same with and without workers."""
        if not self.workers:
            stream = self.mixture.epoch(positions, seed=seed, epoch=epoch, report=self.report)
            return self.encoder.encode(stream, self.report, seed=seed, epoch=epoch)
        if self._readers is None:
            self._readers = ReaderPool(self.mixture, self.encoder, self.workers)
        items = self._readers.read(positions, seed=seed, epoch=epoch, report=self.report)
        return flattened(items, self.encoder.profile)


def load_corpus(
    data: object,
    *,
    task: Task,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    max_length: int,
    overflow: str = "error",
    streaming: str = "auto",
    samplers: tuple[SegmentationSampler | None, SegmentationSampler | None] = (None, None),
    filters: Filters | None = None,
    shares: Shares | None = None,
    objectives: Mapping[int, Objective] | None = None,
    fixed: bool = False,
    as_target: Callable[[list[int]], list[int]] | None = None,
    bad_rows: OnBadRow = "error",
    profile: DataProfile | None = None,
    open_shards: int = OPEN_SHARDS,
    workers: int = 0,
    media: MediaSources | None = None,
) -> InMemory | Streamed:
    """Load the corpus of `data` (DataConfig.train or .valid).

    It is streamed if `streaming` is `always`, or `auto` and there is more text than STREAM_BYTES; else it is in memory.
    `max_length`, `overflow` and `shares` are as in DataConfig. `filters` come from `load_filters`, `objectives` from
    `load_objectives`. Plain text is corrupted differently in each epoch, or identically if `fixed`. `as_target` turns
    encoded target ids into the ids of an answer where the two differ (a leading language token). `profile` counts the
    first examples. `open_shards` and `workers` are as in DataConfig. `media`: sources are references to images or
    sound, which are read when a batch is made; `workers` then load them (LoaderPool), and rows are read here. Raises
    DataError with file, line and remedy.
    """
    room = (
        max_length if as_target is None else max_length - max(0, len(as_target([])) - len(target_tokenizer.enclose([])))
    )
    denoisers = make_denoisers(objectives or {}, source_tokenizer, target_tokenizer, room)
    encoder = ExampleEncoder(
        source_tokenizer, target_tokenizer, max_length, overflow, samplers, denoisers, as_target, profile, media
    )
    if streaming == "always" and not is_files(data):
        raise ConfigError("`data.streaming` must be auto or never for pairs from Python, but is always.")
    if not fixed:
        check_readable(data, task, bad_rows=bad_rows)
    mixture = Mixture(data, task, filters, shares, bad_rows=bad_rows, open_shards=open_shards)
    large = streaming == "always" or (streaming == "auto" and text_bytes(data) > STREAM_BYTES)
    if large or any(samplers) or (denoisers and not fixed):
        if not mixture.needs_survey:  # else all data is read once in any case
            check_files(data)
        # With samplers, small data is one pool that is read and segmented again in each epoch.
        pool_tokens = POOL_TOKENS if large else math.inf
        return Streamed(
            mixture, encoder, pool_tokens, files=fingerprints(data), workers=workers if media is None else 0
        )
    corpus = InMemory(mixture=mixture)
    with no_collection():
        for source, target, item, _ in encoder.encode(mixture.once(corpus.report), corpus.report):
            corpus.append(source, target, item.place, item.number)
    corpus.files = fingerprints(data)
    if not len(corpus):
        raise corpus.report.nothing_left()
    return corpus
