"""References to files of sound or images: the sources of media in a row of data.

    reference = located("clips/a.wav", table="data/train.tsv")      # data/clips/a.wav
    with open_media(reference) as file: ...

A source that is no text is a text all the same, the name of its file, so that filters, shares and reports treat it like
any other. `Reference` adds where the bytes are: a file, a member of a tar archive (`shards/0.tar!a.png`), or a cell of
a parquet file or of a data set of the hub, which is written to a temporary file when a corpus keeps it.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

from antiphon.data.lines import DataPlace, open_bytes, unreadable
from antiphon.errors import AntiphonError, DataError, DiskError
from antiphon.urls import RemoteName, is_url, known_name

MEMBER = "!"  # between the file and the part of it
_ARCHIVE = ".tar" + MEMBER
_DESCRIPTORS = os.path.isdir("/proc/self/fd")  # Linux
_SPOOL_BYTES = 256 << 20  # of one temporary file; it is gone when none of its references is left


class Span(NamedTuple):
    """Bytes of a file: a member of an archive, or a cell that was written to a temporary file."""

    file: str
    offset: int
    size: int
    owner: object = None  # of a temporary file, which exists as long as this


class Reference(str):
    """The name of a file of sound or an image, as messages show it, and where its bytes are.

    `file` is the path or URL, `span` the part of a file, `content` the bytes themselves; the first one of these, from
    the right, that is given is read. `prompt` is the text that stands beside it, which the decoder reads before its
    answer.
    """

    file: str
    span: Span | None
    content: bytes | None
    prompt: str

    def __new__(
        cls, name: str, *, file: str = "", span: Span | None = None, content: bytes | None = None, prompt: str = ""
    ) -> Reference:
        made = super().__new__(cls, name)
        made.file, made.span, made.content, made.prompt = file or name, span, content, prompt
        return made

    def with_prompt(self, prompt: str) -> Reference:
        """The same with `prompt`."""
        return Reference(self, file=self.file, span=self.span, content=self.content, prompt=prompt)


def located(name: str, *, table: str = "", folder: str = "", prompt: str = "") -> Reference:
    """The reference that a row names: relative to `folder`, else to the folder of its `table`, else to the current one.

    A reference whose bytes are known already only gets the prompt.
    """
    if isinstance(name, Reference):
        return name.with_prompt(prompt) if prompt else name
    return Reference(name, file=_beside(name, table, folder), prompt=prompt)


def _beside(name: str, table: str, folder: str) -> str:
    base = known_name(folder or table)
    if is_url(name):
        return base.beside(name) if isinstance(base, RemoteName) else known_name(name)
    if not isinstance(base, RemoteName) or os.path.isabs(name):
        return os.path.join(folder or os.path.dirname(table), name)
    first, chain, rest = base.url.partition("::")
    place = first.rstrip("/") if folder else first.split("?")[0].rpartition("/")[0]
    return base.beside(f"{place}/{name}{chain}{rest}")


def is_part(name: str) -> bool:
    """Whether a name is that of a member of a tar archive."""
    return _ARCHIVE in name


def open_media(reference: str) -> BinaryIO:
    """The open file of a reference. DataError if there is none, ReadError if a connection stays broken."""
    name = located(reference)
    if name.content is not None:
        return io.BytesIO(name.content)
    try:
        span = name.span
        if span is None and _ARCHIVE in name.file:
            span = _member(name)
        if span is None:
            return open_bytes(name.file)
        return io.BufferedReader(_Part(open_bytes(span.file), span))
    except (OSError, ValueError, tarfile.TarError) as error:
        if isinstance(error, AntiphonError):
            raise
        raise unreadable(str.__str__(name.file), error) from error


class _Part(io.RawIOBase):
    """The bytes of a span as a file, seekable."""

    def __init__(self, file: BinaryIO, span: Span) -> None:
        self._file, self._start, self._size, self._at = file, span.offset, span.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        count = min(len(buffer), max(0, self._size - self._at))
        self._file.seek(self._start + self._at)
        found = self._file.read(count)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def close(self) -> None:
        self._file.close()
        super().close()


def _member(reference: Reference) -> Span:
    """The part of an archive that a reference names. DataError if there is none."""
    archive, _, member = reference.file.partition(_ARCHIVE)
    name: str = f"{archive}.tar"
    if isinstance(reference.file, RemoteName):
        name = reference.file.beside(reference.file.url.partition(_ARCHIVE)[0] + ".tar")
    span = _members(name).get(member)
    if span is None:
        problem = f"must be a member of its archive, but `{name}` has none of this name"
        raise DataError(f"`{reference}` {problem}. Check the table.")
    return span


@lru_cache(maxsize=64)
def _members(archive: str) -> dict[str, Span]:
    """The members of an archive, by name. It is read once, from header to header."""
    with open_bytes(archive) as file, tarfile.open(fileobj=file, mode="r:") as found:
        return {one.name: Span(archive, one.offset_data, one.size) for one in found if one.isfile()}


def with_media(found: Mapping[str, Any], place: DataPlace) -> Mapping[str, Any]:
    """A record whose cells of bytes are references: bytes, or {bytes, path} as `datasets` stores images and sound."""
    if not any(isinstance(value, bytes | Mapping) for value in found.values()):
        return found
    return {key: _cell(value, f"{place.file}{MEMBER}{place.line}") for key, value in found.items()}


def _cell(value: Any, name: str) -> Any:
    if isinstance(value, Mapping) and "bytes" in value and set(value) <= {"bytes", "path"}:
        path = value.get("path")
        if value["bytes"] is None:
            return path
        name, value = f"{name}/{path}" if isinstance(path, str) else name, value["bytes"]
    return Reference(name, content=value) if isinstance(value, bytes) else value


class Spool:
    """Writes the bytes of references to temporary files, which end with the process and with their last reference."""

    def __init__(self) -> None:
        self._file: Any = None
        self._size = 0

    def keep(self, reference: Reference) -> Reference:
        """The reference without its bytes in memory; itself if they are elsewhere. DiskError if the disk is full."""
        content = reference.content
        if content is None:
            return reference
        try:
            if self._file is None or self._size + len(content) > _SPOOL_BYTES:
                # A file without a name cannot be left behind by a process that is killed.
                made = tempfile.TemporaryFile if _DESCRIPTORS else tempfile.NamedTemporaryFile
                self._file, self._size = made(prefix="antiphon-media-"), 0
            self._file.seek(self._size)
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            folder = tempfile.gettempdir()
            problem = f"cells of images or sound cannot be written to `{folder}` ({error.strerror})"
            raise DiskError(f"{problem}. Free some space, or set TMPDIR.") from error
        # Each reader, also in another process, opens the file anew, with a position of its own.
        name = f"/proc/{os.getpid()}/fd/{self._file.fileno()}" if _DESCRIPTORS else self._file.name
        span = Span(name, self._size, len(content), self._file)
        self._size += len(content)
        return Reference(reference, file=reference.file, span=span, prompt=reference.prompt)
