"""Lines of UTF-8, as every file and every standard input is read: what ends a line, and the error about other bytes.

>>> decode_line(b"in 3 hours\\r\\n", what="text", file="test.en", number=7)
'in 3 hours'

A line ends at a line feed. One final carriage return is dropped, and so is the byte order mark before the first line.
"""

from __future__ import annotations

import re

from antiphon.errors import DataError

_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """`text` with each lone surrogate replaced by U+FFFD, so that it can be encoded as UTF-8."""
    return _SURROGATE.sub("\ufffd", text)


def decode_line(raw: bytes, *, what: str, file: str, number: int) -> str:
    """The text of line `number` (from 1) of `file`; DataError, in which `what` must be UTF-8, where it is not."""
    return decode(line_content(raw, what=what, file=file, number=number), what=what, file=file, number=number)


def line_content(raw: bytes, *, what: str, file: str, number: int) -> bytes:
    """The bytes of line `number` without its end, and without the byte order mark of a file's first line.

    DataError for a first line of UTF-16 without a mark, which would be read as UTF-8 with NULs in it.
    """
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if number > 1:
        return raw
    raw = raw.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that some editors write
    if without_mark(raw):
        raise DataError(f"{what} must be UTF-8, but has NUL bytes ({file}:1). {convert_hint(raw)}")
    return raw


def decode(content: bytes, *, what: str, file: str, number: int) -> str:
    """The text of what `line_content` gives; DataError for bytes that are no UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x} at column {error.start + 1} is not"
        remedy = convert_hint(content if number == 1 else b"")
        raise DataError(f"{what} must be UTF-8, but {found} ({file}:{number}). {remedy}") from error


def check_returns(first: bytes, name: str) -> None:
    """DataError where a first line of text is the whole file `name`, and carriage returns alone seem to end its
    lines, so that all of them would be one."""
    if not first.endswith(b"\n") and b"\r" in first.rstrip(b"\r"):
        raise DataError(
            f"text must have line feeds at the ends of its lines, but has carriage returns alone ({name}:1). "
            "Where they end the lines, convert it, for example with tr '\\r' '\\n'."
        )


def convert_hint(beginning: bytes) -> str:
    """How a file that is no UTF-8 is converted: UTF-16 and UTF-32 begin with their byte order marks."""
    kind = "utf-16" if beginning[:2] in (b"\xff\xfe", b"\xfe\xff") else without_mark(beginning) or "latin1"
    if beginning[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        kind = "utf-32"
    return f"Convert it, for example with iconv -f {kind} -t utf-8."


def without_mark(line: bytes) -> str:
    """`utf-16le` or `utf-16be` where a first line is UTF-16 without its byte order mark, which two fifths of NUL bytes
    show (of ASCII it is half of them, and such a line is UTF-8 too); "" for any other."""
    if len(line) < 4 or line.count(0) * 5 < len(line) * 2:
        return ""
    return "utf-16be" if line[0] == 0 else "utf-16le"
