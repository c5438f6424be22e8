"""Lines of UTF-8: what ends one, and what is said of other bytes."""

from __future__ import annotations

import pytest

from antiphon.errors import DataError
from antiphon.utf8 import convert_hint, decode_line, line_content


@pytest.mark.parametrize(
    ("raw", "number", "text"),
    [
        (b"a\n", 1, "a"), (b"a\r\n", 2, "a"), (b"a\r\r\n", 2, "a\r"), (b"a", 3, "a"), (b"\n", 4, ""),
        (b"\xef\xbb\xbfa\n", 1, "a"), (b"\xef\xbb\xbfa\n", 2, "\ufeffa"), ("a\u2028b".encode(), 1, "a\u2028b"),
    ],
)  # fmt: skip
def test_a_line_without_its_end_and_its_files_mark(raw: bytes, number: int, text: str) -> None:
    assert decode_line(raw, what="text", file="f", number=number) == text
    assert line_content(raw, what="text", file="f", number=number) == text.encode()


def test_other_bytes_are_an_error_with_their_place() -> None:
    with pytest.raises(DataError) as caught:
        decode_line(b"caf\xe9\n", what="a data file", file="x.en", number=3)
    hint = convert_hint(b"")
    assert str(caught.value) == f"a data file must be UTF-8, but byte 0xe9 at column 4 is not (x.en:3). {hint}"
    with pytest.raises(DataError, match="-f utf-16 "):
        decode_line("a".encode("utf-16"), what="text", file="x.en", number=1)
    with pytest.raises(DataError, match=r"^text must be UTF-8, but has NUL bytes \(x.en:1\). .*-f utf-16le "):
        line_content("some text".encode("utf-16-le"), what="text", file="x.en", number=1)
