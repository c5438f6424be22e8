"""Lines of UTF-8, as every file and every standard input is read: what ends a line, and the error about other bytes.

>>> decode_line(b"in 3 hours\\r\\n", what="text", file="test.en", number=7)
'in 3 hours'

A line ends at a line feed. One final carriage return is dropped, and so is the byte order mark before the first line.
"""

from __future__ import annotations

from antiphon.errors import DataError


def line_content(raw: bytes, *, number: int) -> bytes:
    """The bytes of line `number` (from 1) without its end, and without the byte order mark of a file's first line."""
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    return raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw


def decode_line(raw: bytes, *, what: str, file: str, number: int) -> str:
    """The text of line `number` (from 1) of `file`; DataError, in which `what` must be UTF-8, where it is not."""
    raw = line_content(raw, number=number)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at column {error.start + 1} is not"
        remedy = convert_hint(raw if number == 1 else b"")
        raise DataError(f"{what} must be UTF-8, but {found} ({file}:{number}). {remedy}") from error


def convert_hint(beginning: bytes) -> str:
    """How a file that is no UTF-8 is converted: UTF-16 begins with its byte order mark."""
    kind = "utf-16" if beginning[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
    return f"Convert it, for example with iconv -f {kind} -t utf-8."
