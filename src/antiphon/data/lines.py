"""Lines of a text file, gzipped or not, with the exact place of each, so that reading can go on from there.

>>> for line in Lines("train.en.gz"):
...     print(line)

A line ends at a line feed, and one final carriage return is dropped; nothing else splits: U+2028 stays inside.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

from antiphon.errors import DataError

_BLOCK = 1 << 20


class Place(NamedTuple):
    """Where a record stands; prints as file:line, or as pairs[7] for data from Python, which has no file."""

    file: str
    line: int
    target_file: str = ""  # of aligned text files, the other one

    def of(self, side: str) -> Place:
        """Where the record's `source` or `target` stands."""
        return Place(self.target_file, self.line) if side == "target" and self.target_file else self

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else f"pairs[{self.line}]"


class Cursor(NamedTuple):
    """Behind which record to go on: the source's number, the lines read of it, the byte offset in each of its files."""

    source: int = 0
    line: int = 0
    offsets: tuple[int, ...] = ()


class Row(NamedTuple):
    """A record, where it stands, and the cursor behind it."""

    record: Mapping[str, str]
    place: Place
    cursor: Cursor


class Lines:
    """Iterates over the lines of `file`. `number` is the last one's, from 1; `offset` the unpacked byte after it."""

    def __init__(self, file: str, *, offset: int = 0, number: int = 0, keep_ends: bool = False) -> None:
        self.file, self.offset, self.number = file, offset, number
        self._end = "\n" if keep_ends else ""  # a table needs them: a quoted field may hold several lines

    def __iter__(self) -> Iterator[str]:
        with opened(self.file) as stream:
            for raw in _raw_lines(self.file, stream, self.offset):
                self.number += 1
                self.offset += len(raw)
                yield self._text(raw) + self._end

    def _text(self, raw: bytes) -> str:
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
        if self.number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that some editors write
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            found = f"byte 0x{raw[error.start]:02x} at column {error.start + 1} is not"
            remedy = "Convert the file, for example with iconv -f latin1 -t utf-8."
            raise DataError(f"a data file must be UTF-8, but {found} ({self.file}:{self.number}). {remedy}") from error

    def count_rest(self) -> int:
        """How many lines follow `offset`."""
        return count_lines(self.file, self.offset)


def opened(file: str) -> BinaryIO:
    """The bytes of `file`, unpacked if its name ends in .gz; DataError if there is no such file."""
    try:
        if file.endswith(".gz"):
            return io.BufferedReader(gzip.GzipFile(file, "rb"), 1 << 16)  # pyright: ignore[reportArgumentType, reportReturnType]
        return open(file, "rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the name
        raise unreadable(file, error) from error


def count_lines(file: str, offset: int = 0) -> int:
    """How many lines there are behind byte `offset`, in constant memory."""
    total, last = 0, b"\n"
    with opened(file) as stream:
        try:
            stream.seek(offset)
            while block := stream.read(_BLOCK):
                total += block.count(b"\n")
                last = block[-1:]
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(file, error) from error
    return total + (last != b"\n")


def _raw_lines(file: str, stream: BinaryIO, offset: int) -> Iterator[bytes]:
    try:
        stream.seek(offset)
        yield from stream
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(file, error) from error


def unreadable(file: str, error: Exception) -> DataError:
    """The error about a data file that cannot be opened, or whose gzip data is broken."""
    if file.endswith(".gz") and not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        problem = f"the data file `{file}` must be whole gzip data, but is not ({error})"
        return DataError(f"{problem}. Fetch it again, or drop .gz from its name.")
    reason = error.strerror if isinstance(error, OSError) else error
    return DataError(f"the data file `{file}` cannot be read ({reason}). Check the path.")
