"""Encoded pairs: a corpus in memory, or one that is streamed from files larger than memory.

    corpus = load_corpus(config.data.train, task=task, source_tokenizer=t, target_tokenizer=t, max_length=256)
    len(corpus), corpus[0], corpus.report

Both are read as pools: stretches of examples that fit in memory and are put in order together (batching.py). A corpus
in memory is one pool. A streamed one has many, each found again by the `Cursor` in front of it, so that a position can
be saved and restored.
"""

from __future__ import annotations

import math
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from antiphon.batch import Example
from antiphon.config import is_files
from antiphon.data.lines import Cursor, Place, Row
from antiphon.data.sources import check_files, pair, rows, text_bytes
from antiphon.errors import ConfigError, DataError
from antiphon.text.sampling import Sampler
from antiphon.text.task import Task
from antiphon.text.tokenizer import Tokenizer

STREAM_BYTES = 256 << 20  # of text; above it `streaming: auto` streams
POOL_TOKENS = 4_000_000  # of both sides in one pool of a streamed corpus: about 60,000 sentence pairs, 16 MB
_CHUNK_PAIRS, _CHUNK_CHARACTERS = 1000, 500_000  # that are encoded together


@dataclass
class Report:
    """What became of the records that were read (in this process, where a corpus is streamed): counts of pairs."""

    read: int = 0
    kept: int = 0
    empty: int = 0  # skipped, since one side was empty
    too_long: int = 0  # skipped, with `overflow: skip`
    truncated: int = 0  # kept, with `overflow: truncate`

    def __str__(self) -> str:
        parts = [f"{self.read} pairs read", f"{self.kept} kept"]
        parts += [f"{self.empty} skipped with an empty side"] * (self.empty > 0)
        parts += [f"{self.too_long} skipped as too long"] * (self.too_long > 0)
        parts += [f"{self.truncated} truncated"] * (self.truncated > 0)
        return ", ".join(parts)


class Start(NamedTuple):
    """Where a pool begins: its number in the epoch, its first example's index, the files' cursor (None: the top)."""

    number: int = 0
    first_index: int = 0
    cursor: Cursor | None = None


class Pool(NamedTuple):
    """A stretch of a corpus: where it begins, and its examples."""

    start: Start
    examples: InMemory


class Corpus(Protocol):
    """What batching needs of a corpus."""

    report: Report

    def pools(self, start: Start, *, epoch: int, first: float) -> Iterator[Pool]:
        """The pools from `start` to the end of `epoch`; of many, pool 0 has the share `first` of the size."""
        ...


class InMemory:
    """Examples in two flat arrays, four bytes a token. `corpus[i]` is an Example, whose index is `first_index` + i."""

    def __init__(self, examples: Iterable[Example] = (), *, report: Report | None = None, first_index: int = 0) -> None:
        self._source, self._target = _Rows(), _Rows()
        self._lines = array("Q")
        self._files: list[tuple[int, str]] = []  # from which example on which file
        self._first_index = first_index
        self.report = report or Report()
        for example in examples:
            self.append(example.source, example.target)
            self.report.read += 1
            self.report.kept += 1

    def append(self, source: list[int], target: list[int], place: Place | None = None) -> None:
        """Adds a pair behind the others."""
        place = place or Place("", len(self))
        if not self._files or self._files[-1][1] != place.file:
            self._files.append((len(self), place.file))
        self._lines.append(place.line)
        self._source.append(source)
        self._target.append(target)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)  # ends `for example in corpus`
        return Example(self._source[index], self._target[index], self._first_index + index)

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def lengths(self, index: int) -> tuple[int, int]:
        """Tokens of the source and of the target of example `index`."""
        return self._source.length(index), self._target.length(index)

    def place(self, index: int) -> Place:
        """Where example `index` was read."""
        file = self._files[bisect_right(self._files, index, key=lambda item: item[0]) - 1][1]
        return Place(file, self._lines[index])

    @property
    def tokens(self) -> int:
        """Tokens of both sides together."""
        return self._source.total + self._target.total

    def pools(self, start: Start, *, epoch: int, first: float) -> Iterator[Pool]:
        yield Pool(Start(), self)


class _Rows:
    """Lists of ids, one behind the other in an array."""

    def __init__(self) -> None:
        self._ids, self._ends = array("I"), array("Q", [0])

    def append(self, ids: list[int]) -> None:
        self._ids.extend(ids)
        self._ends.append(len(self._ids))

    def __getitem__(self, index: int) -> list[int]:
        return self._ids[self._ends[index] : self._ends[index + 1]].tolist()

    def length(self, index: int) -> int:
        return self._ends[index + 1] - self._ends[index]

    @property
    def total(self) -> int:
        return len(self._ids)


@dataclass(frozen=True)
class Encoder:
    """From rows to ids: the task, a tokenizer for each side, what happens to a side longer than `max_length` tokens.

    `samplers` (source, target) split texts anew in each epoch; None: as the tokenizer does.
    """

    task: Task
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    max_length: int
    overflow: str = "error"
    samplers: tuple[Sampler | None, Sampler | None] = (None, None)

    def encode(self, stream: Iterator[Row], report: Report, *, epoch: int = 0) -> Iterator[tuple[list[int], list[int], Row]]:
        """Source and target ids of the rows, end included, without those that are skipped; counts into `report`."""
        for chunk in self._chunks(stream):
            report.read += len(chunk)
            full = [(source, target, row) for source, target, row in chunk if source and target]
            report.empty += len(chunk) - len(full)
            keys = [_key(row.place) for _, _, row in full]
            sources = self._ids(0, [source for source, _, _ in full], keys, epoch)
            targets = self._ids(1, [target for _, target, _ in full], keys, epoch)
            for source, target, (_, _, row) in zip(sources, targets, full, strict=True):
                fitting = self._fit(source, target, row.place, report)
                if fitting is not None:
                    report.kept += 1
                    yield (*fitting, row)

    def _ids(self, side: int, texts: list[str], keys: list[int], epoch: int) -> list[list[int]]:
        sampler = self.samplers[side]
        if sampler is not None:
            return sampler.encode_batch(texts, keys, epoch=epoch)
        return (self.source_tokenizer, self.target_tokenizer)[side].encode_batch(texts)

    def _chunks(self, stream: Iterator[Row]) -> Iterator[list[tuple[str, str, Row]]]:
        """The pairs of the rows, in lists that are encoded together."""
        chunk: list[tuple[str, str, Row]] = []
        characters = 0
        for row in stream:
            source, target = pair(row, self.task)
            chunk.append((source, target, row))
            characters += len(source) + len(target)
            if len(chunk) == _CHUNK_PAIRS or characters >= _CHUNK_CHARACTERS:
                yield chunk
                chunk, characters = [], 0
        if chunk:
            yield chunk

    def _fit(
        self, source: list[int], target: list[int], place: Place, report: Report
    ) -> tuple[list[int], list[int]] | None:
        if len(source) <= self.max_length and len(target) <= self.max_length:
            return source, target
        if self.overflow == "skip":
            report.too_long += 1
            return None
        if self.overflow == "error":
            side, length = ("source", len(source)) if len(source) > self.max_length else ("target", len(target))
            raise DataError(
                f"a {side} must have at most {self.max_length} tokens, but has {length} ({place.of(side)}). "
                "Raise `data.max_length` (and `model.max_length`), or set `data.overflow` to truncate or skip."
            )
        report.truncated += 1
        return self._cut(source, self.source_tokenizer.end_id), self._cut(target, self.target_tokenizer.end_id)

    def _cut(self, ids: list[int], end_id: int) -> list[int]:
        """The first tokens; the end stays the last where there is one."""
        if len(ids) <= self.max_length:
            return ids
        return [*ids[: self.max_length - 1], end_id] if ids[-1] == end_id else ids[: self.max_length]


def _key(place: Place) -> int:
    """A number that tells a row from the others, in every process."""
    return zlib.crc32(place.file.encode("utf-8", "surrogateescape")) << 32 | place.line


@dataclass
class Streamed:
    """A corpus that is read anew in each epoch, a pool at a time."""

    data: object
    encoder: Encoder
    pool_tokens: float = POOL_TOKENS
    report: Report = field(default_factory=Report)

    def pools(self, start: Start, *, epoch: int, first: float) -> Iterator[Pool]:
        pool = InMemory(report=Report(), first_index=start.first_index)
        for source, target, row in self.encoder.encode(rows(self.data, start.cursor), self.report, epoch=epoch):
            pool.append(source, target, row.place)
            if pool.tokens >= self.pool_tokens * (first if start.number == 0 else 1.0):
                yield Pool(start, pool)
                start = Start(start.number + 1, start.first_index + len(pool), row.cursor)
                pool = InMemory(report=Report(), first_index=start.first_index)
        if len(pool):
            yield Pool(start, pool)


def load_corpus(
    data: object,
    *,
    task: Task,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    max_length: int,
    overflow: str = "error",
    streaming: str = "auto",
    samplers: tuple[Sampler | None, Sampler | None] = (None, None),
) -> InMemory | Streamed:
    """The corpus of `data` (DataConfig.train or .valid).

    In memory, or streamed if `streaming` is always, or auto and there is more text than STREAM_BYTES. `max_length` and
    `overflow` as in DataConfig. Raises DataError that names file, line and remedy.
    """
    encoder = Encoder(task, source_tokenizer, target_tokenizer, max_length, overflow, samplers)
    if streaming == "always" and not is_files(data):
        raise ConfigError("`data.streaming` must be auto or never for pairs from Python, but is always.")
    if streaming == "always" or (streaming == "auto" and text_bytes(data) > STREAM_BYTES):
        check_files(data)
        return Streamed(data, encoder)
    if any(samplers):
        check_files(data)
        return Streamed(data, encoder, pool_tokens=math.inf)  # read and split anew in each epoch, as one pool
    corpus = InMemory()
    for source, target, row in encoder.encode(rows(data), corpus.report):
        corpus.append(source, target, row.place)
    if not len(corpus):
        raise DataError(f"the data must hold at least one pair to learn from, but {corpus.report}.")
    return corpus
