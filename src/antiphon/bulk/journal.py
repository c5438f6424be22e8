"""The journal of a shard: how far its output is. One JSON object for each block, made durable after its answers.

    with open_journal(folder, shard) as journal:
        journal.totals.rows_read, journal.position
        journal.add(block, position=1000, failures=[])

The file stays when the shard is complete: its last record says so, with the size of the output. A record that is cut
off is removed. While a process works on a shard it holds the lock of the journal, so that a process whose parent was
killed and its successor never write the same output.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from antiphon.errors import WorkError

LOCK_SECONDS = 60.0  # a process whose parent was killed ends within a second


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """A block of rows, or the sum of several: `rows_read` of the input, of which `rows` are in the output (rows that
    cannot be read may be left out), `failed` rows, target `tokens`, `input_bytes` (about, after decompression), and
    `seconds` of computation."""

    rows_read: int = 0
    rows: int = 0
    failed: int = 0
    tokens: int = 0
    input_bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: BlockRecord) -> BlockRecord:
        return BlockRecord(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


@dataclass
class ShardJournal:
    """The journal of one shard.

    `position` is the end of the durable part of the partial output (see `ShardOutput`); `size` is the number of bytes
    of the complete output, None as long as it is not complete.
    """

    stream: BinaryIO | None
    totals: BlockRecord = BlockRecord()
    position: int = 0
    size: int | None = None
    failures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, block: BlockRecord, *, position: int, failures: list[dict[str, Any]]) -> None:
        """Note a block whose answers are durable: the output ends at `position` after it."""
        self._write({**asdict(block), "position": position, **({"failures": failures} if failures else {})})
        self.totals, self.position = self.totals + block, position
        self.failures += failures

    def finish(self, size: int) -> None:
        """Note that the output, of this many bytes, is complete and about to be renamed."""
        self._write({"size": size})
        self.size = size

    def restart(self) -> None:
        """Forget everything: the output is gone."""
        assert self.stream is not None
        self.stream.truncate(0)
        self.totals, self.position, self.size, self.failures = BlockRecord(), 0, None, []

    def _write(self, record: dict[str, Any]) -> None:
        assert self.stream is not None
        self.stream.write(json.dumps(record).encode() + b"\n")
        self.stream.flush()
        os.fsync(self.stream.fileno())


def read_journal(path: Path) -> ShardJournal:
    """The journal at `path`, for reading; an empty one if there is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    return _parsed(content)[0]


@contextmanager
def open_journal(path: Path) -> Iterator[ShardJournal]:
    """The journal at `path`, locked and open for writing. WorkError if another process holds it for a minute."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        _lock(stream, path)
        stream.seek(0)
        journal, whole = _parsed(stream.read())
        stream.truncate(whole)
        yield replace(journal, stream=stream)


def _parsed(content: bytes) -> tuple[ShardJournal, int]:
    """The journal in `content`, and the bytes of its whole records."""
    journal, whole = ShardJournal(None), 0
    names = {each.name for each in fields(BlockRecord)}
    for line in content.splitlines(keepends=True):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict):
            break
        whole += len(line)
        journal.totals += BlockRecord(**{name: value for name, value in record.items() if name in names})
        journal.position, journal.size = record.get("position", journal.position), record.get("size")
        journal.failures += record.get("failures", [])
    return journal, whole


def _lock(stream: BinaryIO, path: Path) -> None:
    """Hold the lock of the file until it is closed. Does nothing on systems and file systems without such locks."""
    try:
        import fcntl
    except ImportError:
        return
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise WorkError(
                    f"another process still writes the shard of `{path}` after {LOCK_SECONDS:g} s. Wait for its end."
                ) from None
            time.sleep(0.05)
        except OSError:  # a file system without locks
            return
