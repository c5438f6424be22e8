"""Readers: processes that read, filter and tokenize the streams of a mixture, while the training computes.

    pool = ReaderPool(mixture, encoder, 4)
    for item in pool.read(positions, seed=0, epoch=0, report=report): ...

The items come in the order of `Mixture.epoch`, whatever the number of readers: a stream is read by one reader, and the
streams are interleaved here. Where there are fewer streams than readers, several read the same stream, and each
tokenizes its share of the chunks; of a remote file without a cache only one does, so that nothing is transferred twice.
Two chunks of each stream are made ahead. Readers are forked, so that filters and tasks of any kind are there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import warnings
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from antiphon.data.epochs.data_report import DataReport
from antiphon.data.epochs.drawing import interleave
from antiphon.data.epochs.encoding import EncodedItem, ExampleEncoder
from antiphon.data.mixture import Mixture, MixturePosition
from antiphon.data.workers.messages import ChunkMessage, error_of, position_list, unpack_chunk
from antiphon.data.workers.process import serve
from antiphon.errors import ConfigError, ReadError

_AHEAD = 2  # chunks of a stream that are asked for before they are needed


class ReaderPool:
    """`count` readers of the streams of `mixture`. ConfigError where processes cannot be forked."""

    def __init__(self, mixture: Mixture, encoder: ExampleEncoder, count: int) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ConfigError("`data.workers` must be 0 on this system, which cannot fork processes. Leave it out.")
        self.mixture, self.encoder = mixture, encoder
        mixture.drop_function(DataReport())  # filters learn here, once, and not in each reader
        self._ticket = 0
        context = multiprocessing.get_context("fork")
        pairs = [context.Pipe() for _ in range(count)]
        self._pipes: list[Connection] = [near for near, _ in pairs]
        self._processes: list[Any] = []
        with _quiet_fork():
            for number, (_, far) in enumerate(pairs):
                others = [*self._pipes, *(end for place, (_, end) in enumerate(pairs) if place != number)]
                made = context.Process(target=serve, args=(far, others, mixture, encoder), daemon=True)
                made.start()
                self._processes.append(made)
        for _, far in pairs:
            far.close()
        self._finalizer = weakref.finalize(self, _end, self._pipes, self._processes)
        self._arrived: dict[tuple[int, int], deque[ChunkMessage]] = {}

    def close(self) -> None:
        """End the readers."""
        self._finalizer()

    def read(
        self, positions: Sequence[MixturePosition], *, seed: int, epoch: int, report: DataReport
    ) -> Iterator[EncodedItem]:
        """The items of an epoch after `positions`; `report` gets the counts of each chunk that is used."""
        plans = self.mixture.streams(seed=seed, epoch=epoch)
        self._ticket += 1
        self._arrived.clear()
        shares = self._dealt([plan.source for plan in plans])
        for reader in range(len(self._pipes)):
            own = [
                [stream, position_list(positions[stream]), part, len(readers)]
                for stream, readers in enumerate(shares)
                for part, other in enumerate(readers)
                if other == reader
            ]
            self._send(reader, {"ticket": self._ticket, "seed": seed, "epoch": epoch, "streams": own}, positions)
        streams = [self._stream(number, readers, positions, report) for number, readers in enumerate(shares)]
        for _ in range(_AHEAD):
            for stream, readers in enumerate(shares):
                for reader in readers:
                    self._ask(reader, stream, positions)
        return interleave(streams, [at.taken for at in positions], [plan.size for plan in plans])

    def _dealt(self, sources: Sequence[int]) -> list[list[int]]:
        """The readers of each stream, by number."""
        count = len(self._pipes)
        if count <= len(sources):
            return [[stream % count] for stream in range(len(sources))]
        shares: list[list[int]] = [[stream] for stream in range(len(sources))]
        shared = [stream for stream, source in enumerate(sources) if self.mixture.may_be_read_twice(source)]
        for place, reader in enumerate(range(len(sources), count) if shared else ()):
            shares[shared[place % len(shared)]].append(reader)
        return shares

    def _stream(
        self, stream: int, readers: Sequence[int], positions: Sequence[MixturePosition], report: DataReport
    ) -> Iterator[EncodedItem]:
        """The items of one stream."""
        ticket, number = self._ticket, 0
        last = positions[stream]
        while True:
            reader = readers[number % len(readers)]
            header, items = self._receive(reader, stream, last)
            if ticket != self._ticket:
                raise RuntimeError("the readers were sent to another position")
            report.add(header["report"])
            for text in header["warnings"]:
                warnings.warn(text, stacklevel=2)
            if "error" in header:
                raise error_of(header["error"])
            if header["end"]:
                return
            self._ask(reader, stream, positions)
            for item in items:
                last = item.item.position
                yield item
            number += 1

    def _ask(self, reader: int, stream: int, positions: Sequence[MixturePosition]) -> None:
        profile = self.encoder.profile
        texts = profile is not None and not profile.full  # its words are counted here
        self._send(reader, {"stream": stream, "texts": texts}, positions, stream)

    def _send(
        self, reader: int, request: dict[str, Any], positions: Sequence[MixturePosition], stream: int = 0
    ) -> None:
        try:
            self._pipes[reader].send_bytes(json.dumps(request).encode())
        except OSError as error:
            raise self._dead(reader, positions[stream]) from error

    def _receive(self, reader: int, stream: int, last: MixturePosition) -> ChunkMessage:
        """The next chunk of a stream from a reader; those of other streams that come before it are stored."""
        while not (waiting := self._arrived.get((reader, stream))):
            try:
                message = unpack_chunk(self._pipes[reader].recv_bytes())
            except (EOFError, OSError) as error:
                raise self._dead(reader, last) from error
            if message.header["ticket"] == self._ticket:
                self._arrived.setdefault((reader, message.header["stream"]), deque()).append(message)
        return waiting.popleft()

    def _dead(self, reader: int, last: MixturePosition) -> ReadError:
        process = self._processes[reader]
        process.join(5)
        code = process.exitcode
        how = f"ended with code {code}"
        if code is None:
            how = "does not answer"
        elif code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            how = f"was ended by {name}" + (", as the system does when memory runs out" if code == -9 else "")
        file = self.mixture.shard_title(last.cursor.source, last.cursor.shard)
        self.close()
        return ReadError(file, f"its reader, process {process.pid} of `data.workers`, {how}", row=last.cursor.line)


@contextmanager
def _quiet_fork() -> Iterator[None]:
    """Without the warnings about threads, which a reader does not use."""
    name, before = "TOKENIZERS_PARALLELISM", os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ.setdefault(name, "false")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        if before is None:
            del os.environ[name]


def _end(pipes: Sequence[Connection], processes: Sequence[Any]) -> None:
    for pipe in pipes:
        with suppress(OSError):
            pipe.close()
    for process in processes:
        process.join(0.5)
        if process.is_alive():
            process.terminate()
            process.join(5)
