"""Lines of a text file (plain, gzip or zstd) with the byte offset of each, so that reading can resume there.

>>> for line in LineReader("train.en.zst"):
...     print(line)

A line ends at a line feed, and one final carriage return is dropped; nothing else splits: U+2028 stays inside.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from antiphon.data.zstd import ZstdFile
from antiphon.errors import AntiphonError, DataError, ReadError
from antiphon.urls import RemoteName, known_name, without_query
from antiphon.utf8 import check_returns, decode, line_content

PACKED = {".gz": "gzip", ".zst": "zstd"}  # suffix of a compressed file -> its format
_BLOCK = 1 << 20


class DataPlace(NamedTuple):
    """The location of a record. Prints as file:line, or as pairs[7] for data from Python."""

    file: str
    line: int
    target_file: str = ""  # the other file of a pair of aligned text files

    def of(self, side: str) -> DataPlace:
        """The location of the record's `source` or `target`."""
        return DataPlace(self.target_file, self.line) if side == "target" and self.target_file else self

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else f"pairs[{self.line}]"


class Cursor(NamedTuple):
    """A position between records from which reading resumes.

    `source` is the number of the source, `shard` that of its shard, `line` the lines read of the shard, `offsets` the
    byte offset in each of its files. If the next record has several targets, the first `part` of them have been read
    already.
    """

    source: int = 0
    line: int = 0
    offsets: tuple[int, ...] = ()
    part: int = 0
    shard: int = 0


class DataRow(NamedTuple):
    """A record, its location, and the cursor after it.

    `targets` are all its targets if the field holds a list of them. `source_prefix` is the text (`tag` and `prefix`)
    that its source puts before each source text. For `plain` text, source and target of the record are both the text.
    `folder` is where the files of images or sound are that it names; "": beside its table. If a row cannot be read,
    `fault` is the error and the record is empty.
    """

    record: Mapping[str, str]
    place: DataPlace
    cursor: Cursor
    targets: tuple[str, ...] = ()
    source_prefix: str = ""
    plain: bool = False
    fault: DataError | None = None
    folder: str = ""


class Pair(NamedTuple):
    """The texts that the task makes of a row, without the source prefix."""

    source: str
    target: str
    row: DataRow


class LineReader:
    """Iterates over the lines of `file`.

    `number` is the number of the last line, from 1; `offset` the byte after it, in the decompressed file. A line that
    is not UTF-8 raises DataError; with `go_on` it is returned with U+FFFD for invalid bytes, and `check` raises. With
    `keep_ends` each line ends in a line feed; with `exact_ends` too, in the line end of the file.
    """

    def __init__(
        self,
        file: str,
        *,
        offset: int = 0,
        number: int = 0,
        keep_ends: bool = False,
        exact_ends: bool = False,
        go_on: bool = False,
    ) -> None:
        self.file, self.offset, self.number = file, offset, number
        self.fault: DataError | None = None
        self._go_on = go_on
        self._end = "\n" if keep_ends else ""  # tables need them: a quoted field may span several lines
        self._exact = exact_ends

    def __iter__(self) -> Iterator[str]:
        end, exact = self._end, self._exact
        try:
            with opened(self.file) as stream:
                for raw in _raw_lines(self.file, stream, self.offset):
                    self.number += 1
                    self.offset += len(raw)
                    if self.number == 1:  # the only one with a byte order mark
                        if not end:
                            check_returns(raw, self.file)
                        text = self._text(raw)
                    else:
                        try:
                            text = raw.decode()
                        except UnicodeDecodeError:
                            text = self._text(raw)
                        else:
                            text = text.removesuffix("\n").removesuffix("\r")
                    if end:
                        text += "\r\n" if exact and raw.endswith(b"\r\n") else end
                    yield text
        except ReadError as error:
            error.row = self.number if error.row is None else error.row
            raise

    def _text(self, raw: bytes) -> str:
        place: dict[str, Any] = {"what": "a data file", "file": self.file, "number": self.number}
        content = line_content(raw, **place)
        try:
            return decode(content, **place)
        except DataError as fault:
            if not self._go_on:
                raise
            self.fault = self.fault or fault
            return content.decode("utf-8", "replace")

    def check(self) -> None:
        """Raise DataError if a line since the last call was not UTF-8."""
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault

    def count_rest(self) -> int:
        """The number of lines after `offset`."""
        return count_lines(self.file, self.offset)


def opened(file: str) -> BinaryIO:
    """Open `file`, a path or a URL, for reading bytes, decompressed if its name ends in .gz or .zst.

    DataError if it cannot be opened, ReadError if a connection stays broken.
    """
    try:
        stream, suffix = open_bytes(file), without_query(file)
        if suffix.endswith(".zst"):
            return io.BufferedReader(ZstdFile(stream, file), 1 << 16)
        if suffix.endswith(".gz"):
            unpacked = gzip.GzipFile(fileobj=stream, mode="rb")
            unpacked.myfileobj = stream  # pyright: ignore[reportAttributeAccessIssue]  (closed with it)
            return io.BufferedReader(unpacked, 1 << 16)  # pyright: ignore[reportArgumentType, reportReturnType]
        return stream
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the name
        if isinstance(error, AntiphonError):
            raise
        raise unreadable(file, error) from error


def open_bytes(file: str) -> BinaryIO:
    """Open `file`, a path or a URL, for reading its bytes as they are stored. OSError for a path, else as `opened`."""
    name = known_name(file)
    if isinstance(name, RemoteName):
        from antiphon.data.remote.cache import open_cached

        return open_cached(name)
    return open(name, "rb")


def file_size(file: str) -> int | None:
    """The bytes of `file`, a path or a URL, as it is stored; None if a server does not say. DataError if there is
    none."""
    name = known_name(file)
    if isinstance(name, RemoteName):
        from antiphon.data.remote.filesystem import details

        return details(name).size
    try:
        return os.stat(name).st_size
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from error


def count_lines(file: str, offset: int = 0) -> int:
    """The number of lines after byte `offset`, counted in constant memory."""
    total, last = 0, b"\n"
    with opened(file) as stream:
        try:
            _go_to(stream, offset)
            while block := stream.read(_BLOCK):
                total += block.count(b"\n")
                last = block[-1:]
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(file, error) from error
    return total + (last != b"\n")


def check_same_length(source: str, target: str, source_count: int, target_count: int) -> None:
    """DataError unless both files, whose lines were counted, have the same number of lines."""
    if source_count != target_count:
        shorter = source if source_count < target_count else target
        raise DataError(
            f"source and target must have the same number of lines, but `{source}` has {source_count} and `{target}` "
            f"has {target_count} ({shorter}:{min(source_count, target_count)} is the last pair). Align them line by "
            "line."
        )


def _raw_lines(file: str, stream: BinaryIO, offset: int) -> Iterator[bytes]:
    try:
        _go_to(stream, offset)
        yield from stream
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(file, error) from error


def _go_to(stream: BinaryIO, offset: int) -> None:
    """Seek to the unpacked byte `offset`; packed data is decompressed up to there."""
    if stream.seekable():
        stream.seek(offset)
        return
    while offset > 0 and (block := stream.read(min(_BLOCK, offset))):
        offset -= len(block)


def unpacked_name(file: str) -> str:
    """`file` without .gz or .zst; of a URL what `without_query` leaves of it."""
    return without_query(file).removesuffix(".gz").removesuffix(".zst")


def unreadable(file: str, error: Exception) -> DataError:
    """The error for a data file that cannot be opened, or whose compressed data is damaged."""
    packed = next((ending for ending in PACKED if without_query(file).endswith(ending)), None)
    if packed and not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        problem = f"the data file `{file}` must be whole {PACKED[packed]} data, but is not ({error})"
        return DataError(f"{problem}. Fetch it again, or drop {packed} from its name.")
    reason = error.strerror if isinstance(error, OSError) else error
    return DataError(f"the data file `{file}` cannot be read ({reason}). Check the path.")
