"""Loaders: processes that read, change and compute the features of images and sound, while the training computes.

    batches = LoadedBatches(Batches(...), LoaderPool(4))
    examples = next(batches)            # those that `Batches` gives, whose features are computed elsewhere

The batches are the same for any number of loaders. A saved position never includes batches that are loaded ahead.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from antiphon.batch import Example, LazyFeatures
from antiphon.data.media.references import Reference
from antiphon.data.media.rows import MediaLoad, MediaRow, MediaSources
from antiphon.distributed.parent import end_with_parent
from antiphon.errors import ConfigError, ReadError

_AHEAD = 4  # rows that are asked for before they are needed, for each loader
_MOST_AHEAD = 16  # batches
_in_this_process: dict[str, MediaSources] = {}  # of a loader


class LoaderPool:
    """`count` loaders of the sources `media`. ConfigError where processes cannot be forked."""

    def __init__(self, media: MediaSources, count: int) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ConfigError("`data.workers` must be 0 on this system, which cannot fork processes. Leave it out.")
        # Forked, so that kinds and augmentations of any module are there.
        context = multiprocessing.get_context("fork")
        self.count = count
        self._executor = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(media, os.getpid()))
        self._finalizer = weakref.finalize(self, self._executor.shutdown, wait=False, cancel_futures=True)
        # All are forked now: later ones would hold what is opened meanwhile, such as the lock of a run folder.
        self._executor.submit(os.getpid).result()

    def submit(self, load: MediaLoad) -> Future[Any]:
        """The features of the file of a row to come, as an array (F, M)."""
        row, reference = load.row, load.row.reference
        if reference.span is not None:  # a temporary file stays with this process
            reference = Reference(
                reference, file=reference.file, span=reference.span._replace(owner=None), content=reference.content
            )
        try:
            return self._executor.submit(_load, reference, row.what, (load.seed, load.epoch, row.number))
        except BrokenProcessPool as error:
            raise _ended(reference) from error

    def close(self) -> None:
        """End the loaders."""
        self._finalizer()


def _begin(media: MediaSources, parent: int) -> None:
    """What a loader begins with. It ends with its parent, and only by it."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    end_with_parent(parent)
    _in_this_process["media"] = media


def _load(reference: Reference, what: str, augmented: tuple[int, int, int]) -> Any:
    return _in_this_process["media"].features(reference, what, augmented=augmented).numpy()


def _ended(reference: str) -> ReadError:
    return ReadError(reference, "a process of `data.workers` was ended, as the system does when memory runs out")


@dataclass(frozen=True, slots=True)
class _Loading:
    """Waits for the features of a row."""

    row: MediaRow
    future: Future[Any]

    def __call__(self) -> Tensor:
        try:
            return self.row.joined(torch.from_numpy(self.future.result()))
        except BrokenProcessPool as error:
            raise _ended(self.row.reference) from error


class _Ahead(NamedTuple):
    """A batch that is loaded ahead, and where the stream was before it."""

    examples: list[Example]
    epoch: int
    position: int
    state: dict[str, Any]


class BatchesToLoad(Protocol):
    """The interface of a stream of batches that `LoadedBatches` uses; that of `Batches`."""

    @property
    def epoch(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def batches_per_epoch(self) -> int | None: ...
    def __next__(self) -> list[Example]: ...
    def peek(self) -> list[Example]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class LoadedBatches:
    """The batches of `batches`, loaded by `pool`. `own`: whether this rank computes a batch, by its number from the
    last start or `restore`; others are not loaded here."""

    def __init__(self, batches: BatchesToLoad, pool: LoaderPool, *, own: Callable[[int], bool]) -> None:
        self._batches, self._pool, self._own = batches, pool, own
        self._ahead: deque[_Ahead] = deque()
        self._drawn = self._waiting = 0  # batches that were drawn, and rows in those ahead

    def over(self, batches: BatchesToLoad) -> LoadedBatches:
        """Other batches, all of which are loaded by the same pool."""
        return LoadedBatches(batches, self._pool, own=lambda number: True)

    @property
    def epoch(self) -> int:
        """The number of completed passes before the next batch."""
        return self._ahead[0].epoch if self._ahead else self._batches.epoch

    @property
    def position(self) -> int:
        """The batches of the current pass before the next one."""
        return self._ahead[0].position if self._ahead else self._batches.position

    @property
    def batches_per_epoch(self) -> int | None:
        """As of `Batches`."""
        return self._batches.batches_per_epoch

    def __iter__(self) -> LoadedBatches:
        return self

    def __next__(self) -> list[Example]:
        while not self._ahead or (self._waiting < _AHEAD * self._pool.count and len(self._ahead) < _MOST_AHEAD):
            self._draw()
        examples = self._ahead.popleft().examples
        self._waiting -= len(examples)
        return examples

    def peek(self) -> list[Example]:
        """The next batch, which stays the next one."""
        return self._ahead[0].examples if self._ahead else self._batches.peek()

    def state(self) -> dict[str, Any]:
        """The position before the next batch."""
        return self._ahead[0].state if self._ahead else self._batches.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a position returned by `state()`."""
        self._ahead.clear()
        self._drawn = self._waiting = 0
        self._batches.restore(state)

    def close(self) -> None:
        """End the loaders."""
        self._pool.close()

    def _draw(self) -> None:
        batches = self._batches
        before = (batches.epoch, batches.position, batches.state())
        examples = next(batches)
        if self._own(self._drawn):
            examples = [self._loading(example) for example in examples]
        self._drawn += 1
        self._waiting += len(examples)
        self._ahead.append(_Ahead(examples, *before))

    def _loading(self, example: Example) -> Example:
        source = example.source
        if not (isinstance(source, LazyFeatures) and isinstance(source.load, MediaLoad)):
            return example
        future = self._pool.submit(source.load)
        return replace(example, source=LazyFeatures(source.length, _Loading(source.load.row, future)))
