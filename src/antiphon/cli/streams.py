"""Lines in and lines out, binary-safe: `-` is standard input or output.

A line ends at a line feed; one final carriage return is dropped. Nothing else splits, and what is not UTF-8 is an error
with its line.
"""

from __future__ import annotations

import errno
import io
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from antiphon.errors import DataError, DiskError, UsageError
from antiphon.utf8 import check_returns, decode_line

MOST_LINES, MOST_BYTES = 4096, 1 << 20  # of one chunk: enough to sort by length, little enough for any memory
_BLOCK = 1 << 16
T = TypeVar("T")


def chunks(path: str) -> Iterator[list[str]]:
    """The lines of `path` in lists: as many as are there without waiting, but no more than MOST_LINES or about
    MOST_BYTES.

    So a person, or a program that waits for its answer, gets it line by line, and a big file goes through in good
    batches.
    """
    name = "standard input" if path == "-" else path
    number, held, batch = 0, 0, []
    with _input(path) as stream:
        for block in _blocks(stream, name):
            for raw in block:
                number += 1
                try:
                    batch.append(decode_line(raw, what="text", file=name, number=number))
                except DataError:
                    if batch:  # what stands before the fault is answered
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
    """The chunks behind their first `count` lines (or rows: `unit`), which the file `name` has answers to.

    UsageError where there are fewer.
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
    """How many inputs have their `each` whole lines in the file `path`. What is behind them, cut off, is dropped."""
    ends: list[int] = [0]  # of inputs
    with named(path), Path(path).open("rb+") as stream:
        for number, line in enumerate(iter(stream.readline, b""), 1):
            if line.endswith(b"\n") and number % each == 0:
                ends.append(stream.tell())
        stream.truncate(ends[-1])
    return len(ends) - 1


@contextmanager
def output(path: str, *, reads: str | None = None, adds: bool = False) -> Iterator[Writer]:
    """Where lines are written: a file, replaced, or standard output; it must not be `reads`, the file that is read.

    `adds`: behind what the file holds.
    """
    if path == "-":
        yield Writer(sys.stdout.buffer, "standard output")
        return
    if reads not in (None, "-") and Path(path).exists() and Path(path).samefile(reads):
        raise UsageError(f"`--output` must be another file than `--input`, but both are `{path}`.")
    with ExitStack() as stack:
        try:
            # Kept as it is until there is something to write: wrong input must not empty a file that is there.
            stream = stack.enter_context(Path(path).open("ab"))
        except OSError as error:
            raise UsageError(f"`{path}` cannot be written ({error.strerror}). Choose another `--output`.") from error
        writer = Writer(stream, path, replaces=stream.seekable() and not adds)
        yield writer
        writer.begin()


class Writer:
    """Text to a binary stream; `flush` after each chunk, so that answers are seen when they are there."""

    def __init__(self, stream: BinaryIO, name: str, *, replaces: bool = False) -> None:
        self._stream, self._name, self._replaces = stream, name, replaces

    def begin(self) -> None:
        """Drop what the file held, once."""
        if self._replaces:
            self._replaces = False
            self._stream.truncate(0)

    def line(self, text: str) -> None:
        """One line; a newline inside becomes a space."""
        self.write(text.replace("\n", " ") + "\n")

    def write(self, text: str) -> None:
        """Text as it is."""
        with named(self._name):
            self.begin()
            self._stream.write(text.encode("utf-8", "replace"))

    def flush(self) -> None:
        """Hand on what was written."""
        with named(self._name):
            self._stream.flush()


@contextmanager
def named(name: str) -> Iterator[None]:
    """Errors of the system while the file `name` is written, as DiskError."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read has enough; main() ends quietly
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DiskError(f"{name} cannot be written ({error.strerror}).{' Free some space.' if full else ''}") from error


@contextmanager
def _input(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield io.BytesIO() if sys.stdin is None else sys.stdin.buffer  # None: it is closed
        return
    from antiphon.data.lines import opened  # not above: it brings PyTorch, which `--help` does not need

    with opened(path) as stream:
        yield stream


def _blocks(stream: BinaryIO, name: str) -> Iterator[list[bytes]]:
    """The whole lines that came with each read; the last one may lack its line feed."""
    pieces: list[bytes] = []  # of a line whose end has not come yet
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
    """Whether more can be read without waiting for it."""
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError):  # no descriptor (a test, a gzip stream of one), or no select for it (Windows)
        return False
