"""Reading a remote file from any byte, across broken connections.

    with open_remote(RemoteName("s3://bucket/train.jsonl")) as stream:
        stream.seek(1_000_000); stream.read(100)

The file is read in blocks, each of which is fetched while the one before is used. After a broken connection it is
opened again and read from the first byte that is missing, so no byte is there twice or lost. A file that has another
size or version by then is an error. A server that sends no parts is read from the beginning, and what is known is
skipped.
"""

from __future__ import annotations

import io
import itertools
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, BinaryIO

from antiphon.data.remote.filesystem import FileDetails, ask_details, connect, details
from antiphon.data.remote.retrying import persist
from antiphon.errors import DataError
from antiphon.urls import RemoteName

BLOCK_BYTES = 4 << 20  # fetched at a time: a request takes about as long as its transfer
LEAST_BYTES = 64 << 10  # after failures: what a broken answer had brought is lost, so that smaller ones are asked for
_SKIPPED_BYTES = 1 << 20


def open_remote(name: RemoteName) -> BinaryIO:
    """A buffered, seekable stream of the file at a URL."""
    return io.BufferedReader(RemoteFile(name), 1 << 18)


class RemoteFile(io.RawIOBase):
    """The bytes of the file `name`. `size` is None if the server does not say it; then its end is no place to seek.

    Raises DataError for a file that is not there, is not permitted, or changes while it is read; ReadError if a
    connection stays broken.
    """

    def __init__(self, name: RemoteName) -> None:
        self.name = name
        self.known: FileDetails = details(name)
        self._position = 0
        self._block, self._block_start = memoryview(b""), 0
        self._handle: Any = None
        self._system: Any = None  # held while the handle is open: an archive is closed with its file system
        self._fresh = True  # whether the details are of now
        self._handle_at = 0  # the byte that the handle reads next
        self._parts = self.known.partial and self.known.size is not None
        self._closing = threading.Event()
        self._fetcher: ThreadPoolExecutor | None = None
        self._ahead: tuple[int, Future[bytes]] | None = None

    @property
    def size(self) -> int | None:
        return self.known.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            if self.size is None:
                raise OSError("the size of the file is not known")
            offset += self.size
        elif whence == os.SEEK_CUR:
            offset += self._position
        self._position = max(0, offset)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        within = self._position - self._block_start
        if not 0 <= within < len(self._block):
            self._block, self._block_start, within = memoryview(self._next(self._position)), self._position, 0
        count = min(len(buffer), len(self._block) - within)
        buffer[:count] = self._block[within : within + count]
        self._position += count
        return count

    def close(self) -> None:
        self._closing.set()
        if self._fetcher is not None:
            self._fetcher.shutdown(wait=True, cancel_futures=True)
        self._drop_handle()
        super().close()

    def _next(self, start: int) -> bytes:
        """The block that begins at byte `start`; the one after it is fetched meanwhile."""
        if self.size is not None and start >= self.size:
            return b""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == start:
            block = ahead[1].result()
        else:
            if ahead is not None and not ahead[1].cancel():
                with suppress(Exception):  # of a block that is not wanted any more
                    ahead[1].result()
            block = self._fetch(start)
        following = start + len(block)
        # Only a reader that goes on where it was needs the next block: parquet reads here and there.
        if block and start == self._block_start + len(self._block) and (self.size is None or following < self.size):
            self._fetcher = self._fetcher or ThreadPoolExecutor(1, thread_name_prefix="antiphon-fetch")
            self._ahead = following, self._fetcher.submit(self._fetch, following)
        return block

    def _fetch(self, start: int) -> bytes:
        wanted = BLOCK_BYTES if self.size is None else min(BLOCK_BYTES, self.size - start)
        pieces: list[bytes] = []
        tries = itertools.count()

        def read() -> bytes:
            have, most = sum(map(len, pieces)), max(LEAST_BYTES, BLOCK_BYTES >> next(tries))
            try:
                self._go_to(start + have)
                while have < wanted and (piece := self._handle.read(min(wanted - have, most))):
                    pieces.append(piece)
                    have += len(piece)
                    self._handle_at += len(piece)
            except ValueError as error:
                self._drop_handle()
                if "range requests" not in str(error) or not self._parts:
                    raise
                self._parts = False
                raise ConnectionError("the server sends no parts of files") from error
            except BaseException:
                self._drop_handle()
                raise
            if have < wanted and self.size is not None:
                self._drop_handle()
                raise ConnectionError(f"it ended after {start + have:,} of {self.size:,} bytes")
            return b"".join(pieces)

        return persist(read, name=self.name, closing=self._closing)

    def _open(self) -> None:
        self._system, path = connect(self.name)
        now, self._fresh = self.known if self._fresh else ask_details(self.name), False
        if now[:2] != self.known[:2]:
            raise DataError(
                f"the data file `{self.name}` must not change while it is read, but had {self.known.size} bytes "
                f"({self.known.version}) and has {now.size} ({now.version}). Put it back, or start a new run."
            )
        how = {"cache_type": "none", "block_size": BLOCK_BYTES} if self._parts else {"block_size": 0}
        self._handle, self._handle_at = self._system.open(path, "rb", **how), 0

    def _go_to(self, start: int) -> None:
        """Open the file where it is not open, and go to byte `start`: of a server that sends no parts, by skipping."""
        if self._handle is None or (not self._parts and self._handle_at > start):
            self._drop_handle()
            self._open()
        handle: Any = self._handle
        if self._parts:
            handle.seek(start)
            self._handle_at = start
        while self._handle_at < start:
            skipped = handle.read(min(_SKIPPED_BYTES, start - self._handle_at))
            if not skipped:
                raise ConnectionError(f"it ended after {self._handle_at:,} bytes")
            self._handle_at += len(skipped)

    def _drop_handle(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(Exception):  # a broken connection may not close
                handle.close()
