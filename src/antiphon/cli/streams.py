"""Reading and writing of lines; `-` is standard input or output.

A line ends at a line feed; one final carriage return is dropped. No other character ends a line. Invalid UTF-8 is an
error with the line number.
"""

from __future__ import annotations

import errno
import io
import select
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from antiphon.bulk.job import DEFAULT_BLOCK_ROWS, MOST_BLOCK_BYTES
from antiphon.errors import DataError, DiskError, ReadError, UsageError
from antiphon.urls import hide
from antiphon.utf8 import check_returns, decode_line

MOST_LINES, MOST_BYTES = DEFAULT_BLOCK_ROWS, MOST_BLOCK_BYTES  # of one chunk: those of a bulk job, for equal answers
_BLOCK = 1 << 16
T = TypeVar("T")


def chunks(path: str) -> Iterator[list[str]]:
    """The lines of `path` in lists: as many as are available without waiting, at most MOST_LINES or about MOST_BYTES.

    `path` is a file, a URL, a pattern of several of them, or -, standard input.
    So an interactive user or program is answered line by line, and a large file is processed in large batches.
    """
    if path != "-":
        from antiphon.data.shards import expand  # not above: it brings PyTorch, which `--help` does not need

        for file in expand(path):
            yield from _chunks(file)
        return
    yield from _chunks(path)


def _chunks(path: str) -> Iterator[list[str]]:
    """The same for one file."""
    name = "standard input" if path == "-" else hide(path)
    number, held, batch = 0, 0, []
    with _input(path) as stream:
        for block in _blocks(stream, name):
            for raw in block:
                number += 1
                try:
                    batch.append(decode_line(raw, what="text", file=name, number=number))
                except DataError:
                    if batch:  # lines before the fault are answered
                        yield batch
                    raise
                held += len(raw)
                if len(batch) >= MOST_LINES or held >= MOST_BYTES:
                    yield batch
                    held, batch = 0, []
            if batch and not _waiting(stream):
                yield batch
                held, batch = 0, []
    if batch:
        yield batch


def lines(path: str) -> Iterator[str]:
    """The lines of `path`, one by one."""
    for chunk in chunks(path):
        yield from chunk


def without(count: int, chunks: Iterable[list[T]], name: str, *, unit: str = "lines") -> Iterator[list[T]]:
    """The chunks without their first `count` lines (or rows: `unit`), whose answers are in the file `name` already.

    UsageError if there are fewer.
    """
    left = count
    for chunk in chunks:
        if left < len(chunk):
            yield chunk[left:]
        left = max(0, left - len(chunk))
    if left:
        raise UsageError(
            f"`{name}` must hold answers to no more than the {count - left} {unit} of the input, but holds {count}. "
            "Give the same --input, or another --output."
        )


def answered(path: str, each: int) -> int:
    """The number of inputs with all their `each` lines in the file `path`. Anything after them is truncated."""
    ends: list[int] = [0]  # offsets of the ends of inputs
    with named(path), Path(path).open("rb+") as stream:
        for number, line in enumerate(iter(stream.readline, b""), 1):
            if line.endswith(b"\n") and number % each == 0:
                ends.append(stream.tell())
        stream.truncate(ends[-1])
    return len(ends) - 1


@contextmanager
def saying_what_is_answered(path: str, count: Callable[[], int]) -> Iterator[None]:
    """A context that adds to a ReadError how many inputs are answered in the file `path`, and how to go on."""
    try:
        yield
    except ReadError as error:
        there = "were printed; start again with the rest of the input"
        there = there if path == "-" else f"are in `{path}`; go on with --resume"
        error.kept = f"The answers to {count():,} inputs {there}."
        raise


@contextmanager
def output(path: str, *, reads: str | None = None, adds: bool = False) -> Iterator[Writer]:
    """Open `path` for writing lines: a file, which is overwritten, or standard output. It must not be `reads`, the
    input.

    `adds`: append to the file.
    """
    if path == "-":
        yield Writer(sys.stdout.buffer, "standard output")
        return
    if reads not in (None, "-") and Path(path).exists() and Path(reads).exists() and Path(path).samefile(reads):
        raise UsageError(f"`--output` must be another file than `--input`, but both are `{path}`.")
    with ExitStack() as stack:
        try:
            # Not truncated before the first write: an error in the input must not empty an existing file.
            stream = stack.enter_context(Path(path).open("ab"))
        except OSError as error:
            raise UsageError(f"`{path}` cannot be written ({error.strerror}). Choose another `--output`.") from error
        writer = Writer(stream, path, replaces=stream.seekable() and not adds)
        yield writer
        writer.begin()


class Writer:
    """Writes text to a binary stream. Call `flush` after each chunk, so that answers appear immediately."""

    def __init__(self, stream: BinaryIO, name: str, *, replaces: bool = False) -> None:
        self._stream, self._name, self._replaces = stream, name, replaces

    def begin(self) -> None:
        """Truncate the file, once."""
        if self._replaces:
            self._replaces = False
            self._stream.truncate(0)

    def line(self, text: str) -> None:
        """Write a line; a newline inside becomes a space."""
        self.write(text.replace("\n", " ") + "\n")

    def write(self, text: str) -> None:
        """Write text unchanged."""
        with named(self._name):
            self.begin()
            self._stream.write(text.encode("utf-8", "replace"))

    def flush(self) -> None:
        """Flush the stream."""
        with named(self._name):
            self._stream.flush()


@contextmanager
def named(name: str) -> Iterator[None]:
    """Convert system errors while the file `name` is written to DiskError."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader closed the pipe; main() ends quietly
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DiskError(f"{name} cannot be written ({error.strerror}).{' Free some space.' if full else ''}") from error


@contextmanager
def _input(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield io.BytesIO() if sys.stdin is None else sys.stdin.buffer  # None: it is closed
        return
    from antiphon.data.lines import opened

    with opened(path) as stream:
        yield stream


def _blocks(stream: BinaryIO, name: str) -> Iterator[list[bytes]]:
    """The complete lines of each read; the last line may have no line feed."""
    pieces: list[bytes] = []  # of an incomplete line
    alone = True  # whether there is no line feed at all
    while block := stream.read1(_BLOCK):  # pyright: ignore[reportAttributeAccessIssue]  (buffered streams have it)
        first, *others = block.split(b"\n")
        pieces.append(first)
        if others:
            alone = False
            *whole, last = others
            yield [b"".join(pieces), *whole]
            pieces = [last]
    if rest := b"".join(pieces):
        if alone:
            check_returns(rest, name)
        yield [rest]


def _waiting(stream: BinaryIO) -> bool:
    """Whether more can be read without blocking."""
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError):  # no descriptor (a test, a gzip stream of one), or no select for it (Windows)
        return False
