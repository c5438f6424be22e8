"""Reading of zstd files (RFC 8878) with the library zstandard, which is imported only here.

A file may consist of several frames, as written by `cat a.zst b.zst` and parallel compressors. A file that ends inside
a frame is an error; the library's own stream reader does not notice it.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from antiphon.errors import ConfigError

_BLOCK = 1 << 16  # compressed bytes read at a time


def needs(library: str, what: str) -> ConfigError:
    """The error for a missing `library` of the extra `data`."""
    return ConfigError(f"{what} needs the library {library}, which is not installed. Run pip install 'antiphon[data]'.")


class ZstdFile(io.RawIOBase):
    """The decompressed bytes of the open .zst file `packed`, read from where it is; `file` is its name. It is closed
    with this object. EOFError or OSError if it is damaged."""

    _packed: BinaryIO | None = None

    def __init__(self, packed: BinaryIO, file: str) -> None:
        try:
            import zstandard
        except ImportError as error:
            packed.close()
            raise needs("zstandard", f"reading `{file}`") from error
        self._zstandard = zstandard
        self._packed = packed
        self._frame: Any = None  # the decompressor of the current frame
        self._rest = memoryview(b"")  # decompressed bytes that were not returned yet

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        assert self._packed is not None
        while not self._rest:
            block = self._packed.read(_BLOCK)
            if not block:
                if self._frame is not None:
                    raise EOFError("it ends inside a frame")
                return 0
            try:
                self._rest = memoryview(self._unpack(block))
            except self._zstandard.ZstdError as error:
                raise OSError(str(error)) from error
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def close(self) -> None:
        if self._packed is not None:
            self._packed.close()
        super().close()

    def _unpack(self, block: bytes) -> bytes:
        pieces: list[bytes] = []
        while block:
            if self._frame is None:
                self._frame = self._zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
            pieces.append(self._frame.decompress(block))
            if not self._frame.eof:
                break
            block, self._frame = self._frame.unused_data, None  # another frame follows, or the file ends
        return b"".join(pieces)
