"""Reading a growing log file from where the last reading stopped.

tail = LogTail(folder / "metrics.jsonl")
found = tail.read()                 # found.rows, and found.restarted where the file was truncated or replaced
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20
CHECKED_BYTES = 256  # before the place where reading stopped: they must be as they were
_LARGEST = 1e300  # of a step
_DECODER = json.JSONDecoder(parse_constant=lambda _: float("-inf"))  # NaN and infinities, which json.dumps writes

Row = dict[str, Any]


@dataclass(slots=True)
class LogPart:
    """Rows that were read. `restarted`: they are the first of the file, since it was truncated or replaced."""

    rows: list[Row] = field(default_factory=list)
    restarted: bool = False
    more: bool = False


class FileAge:
    """The seconds since a file was changed. Only the first reading trusts the time of day, which may be set to another
    while a run is watched: later ones go by a monotonic clock."""

    def __init__(self) -> None:
        self._seen: tuple[int, int] | None = None  # size and time of change
        self._changed = self._read = 0.0  # by the monotonic clock

    def read(self, state: os.stat_result) -> None:
        """Note the state of the file."""
        seen, now = (state.st_size, state.st_mtime_ns), time.monotonic()
        if seen != self._seen:
            age = max(0.0, time.time() - state.st_mtime)
            # It has changed since the last reading.
            self._changed = now - (age if self._seen is None else min(age, now - self._read))
        self._seen, self._read = seen, now

    def seconds(self) -> float:
        """The seconds since the last change."""
        return time.monotonic() - self._changed


class LogTail:
    """Reads whole lines of JSON objects with a `step`. A last line without its end is read when it is complete."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset, self.size = path, 0, 0
        self._age: FileAge | None = None
        self.bad_lines = 0
        self._before = b""

    @property
    def age_seconds(self) -> float | None:
        """The seconds since the file was last changed, as far as the readings show; None before the first reading."""
        return None if self._age is None else self._age.seconds()

    @property
    def open_bytes(self) -> int:
        """The bytes of a last line that is not complete, as of the last reading."""
        return self.size - self.offset

    def read(self, limit: int = CHUNK_BYTES) -> LogPart:
        """The next rows, from about `limit` bytes. Truncation by a resumed run, and another file in its place, are
        noticed by the size and by the bytes before the place where reading stopped. A missing file is an OSError."""
        part = LogPart()
        with self.path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            self.size = state.st_size
            self._age = self._age or FileAge()
            self._age.read(state)
            if self.size < self.offset or not self._is_continued(stream):
                part.restarted = True
                self.offset, self._before, self.bad_lines = 0, b"", 0
            stream.seek(self.offset)
            data = stream.read(limit)
            while data and b"\n" not in data and len(data) < MAX_LINE_BYTES and (added := stream.read(limit)):
                data += added
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) >= MAX_LINE_BYTES:  # no log of ours has such a line
            end = len(data)
        part.rows = list(self._rows(data[:end]))
        self.offset += end
        self._before = (self._before + data[:end])[-CHECKED_BYTES:]
        part.more = end > 0 and self.offset < self.size
        return part

    def _is_continued(self, stream: Any) -> bool:
        if not self._before:
            return True
        stream.seek(self.offset - len(self._before))
        return stream.read(len(self._before)) == self._before

    def _rows(self, data: bytes) -> Iterator[Row]:
        found = _parse_all(data)
        if found is not None and len(found) == data.count(b"\n") and _are_rows(found):
            yield from found
            return
        for line in data.split(b"\n"):
            if line.strip():
                row = _parse(line)
                if row is None:
                    self.bad_lines += 1
                else:
                    yield row


def read_sample(path: Path, count: int) -> list[Row]:
    """`count` rows of a long file at equal distances in bytes, with the first one, in order."""
    rows = []
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        for place in range(count):
            start = place * size // count
            stream.seek(start)
            if start:
                stream.readline()
            line = stream.readline()
            row = _parse(line) if line.endswith(b"\n") else None
            if row is not None and (not rows or row["step"] >= rows[-1]["step"]):
                rows.append(row)
    return rows


def _parse_all(data: bytes) -> list[Any] | None:
    """All lines by one call, which is much faster than one for each; None if any is no JSON."""
    try:
        return _DECODER.decode("[" + data.strip().replace(b"\n", b",").decode() + "]")
    except (ValueError, RecursionError):
        return None


def _parse(line: bytes) -> Row | None:
    try:
        row = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        return None
    return row if _is_row(row) else None


def _are_rows(found: list[Any]) -> bool:
    """Whether all are rows, for long lists."""
    if set(map(type, found)) - {dict}:
        return False
    try:
        steps = list(map(itemgetter("step"), found))
    except (KeyError, TypeError):
        return False
    return set(map(type, steps)) <= {int, float} and (not steps or -_LARGEST < min(steps) <= max(steps) < _LARGEST)


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and type(row.get("step")) in (int, float) and abs(row["step"]) < _LARGEST
