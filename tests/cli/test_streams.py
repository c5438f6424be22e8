"""Lines in: what ends one, what does not, and when they come."""

from __future__ import annotations

import gzip
import os
import random
import sys
import threading
from pathlib import Path

import pytest
from counts import count

from antiphon.cli import streams
from antiphon.cli.streams import Writer, chunks, lines, output
from antiphon.errors import DataError, UsageError


def naive(content: bytes) -> list[str]:
    """The same rule in one line: split at line feeds, drop one carriage return, a last empty piece is no line."""
    pieces = content.split(b"\n")
    return [piece.removesuffix(b"\r").decode() for piece in (pieces if pieces[-1] else pieces[:-1])]


def write(folder: Path, content: bytes, name: str = "lines") -> str:
    file = folder / name
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(file)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\nb", ["a", "b"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\r\nb\r\r\n\rc\n", ["a", "b\r", "\rc"]),
        ("a\u2028b\x0bc\x0cd\x1ce\x85f\n".encode(), ["a\u2028b\x0bc\x0cd\x1ce\x85f"]),
        (b"a\x00b\n", ["a\x00b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
    ],
)
@pytest.mark.parametrize("name", ["lines", "lines.gz"])
def test_what_ends_a_line(tmp_path: Path, content: bytes, expected: list[str], name: str) -> None:
    assert list(lines(write(tmp_path, content, name))) == expected


def test_lines_are_those_of_the_naive_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_BLOCK", 7)
    for seed in range(count("odd_texts") // 10):
        rng = random.Random(seed)
        content = "".join(
            rng.choice(["a", "é", "\n", "\r", "𝄞", " ", "\u2028"]) for _ in range(rng.randrange(60))
        ).encode()
        file = write(tmp_path, content)
        if b"\n" not in content and b"\r" in content.rstrip(b"\r"):  # one line whose ends seem to be elsewhere
            with pytest.raises(DataError, match="but has carriage returns alone"):
                list(lines(file))
        else:
            assert list(lines(file)) == naive(content), content


def test_chunks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_LINES", 10)
    monkeypatch.setattr(streams, "MOST_BYTES", 100)
    content = b"".join(b"%d\n" % number for number in range(95)) + b"x" * 250 + b"\ny\n"
    made = list(chunks(write(tmp_path, content)))
    assert [line for chunk in made for line in chunk] == naive(content)
    assert max(map(len, made)) == 10
    assert all(sum(map(len, chunk[:-1])) < 100 for chunk in made)


def test_invalid_utf8_names_its_line_after_those_before_it(tmp_path: Path) -> None:
    file = write(tmp_path, b"one\ntwo\nth\xffree\nfour\n")
    got = []
    with pytest.raises(DataError, match=r"byte 0xff at column 3 is not \(.*lines:3\)"):
        for chunk in chunks(file):
            got += chunk
    assert got == ["one", "two"]


def test_lines_are_handed_on_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that writes a line and waits for the answer gets it: nobody waits for a full chunk."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        waiting = chunks("-")
        os.write(writing, b"one\n")
        assert next(waiting) == ["one"]
        os.write(writing, b"two\nthree\nfo")
        assert next(waiting) == ["two", "three"]
        threading.Timer(0.05, lambda: (os.write(writing, b"ur\n"), os.close(writing))).start()
        assert next(waiting) == ["four"]
        assert list(waiting) == []


def test_a_missing_file_is_one_line() -> None:
    with pytest.raises(DataError, match=r"`nowhere\.txt` cannot be read"):
        list(lines("nowhere.txt"))


def test_output_is_replaced_but_never_the_file_that_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, b"old\nolder\n")
    with pytest.raises(UsageError, match="another file"), output(file, reads=str(tmp_path / "." / "lines")):
        pass
    assert Path(file).read_bytes() == b"old\nolder\n"
    with output(file) as writer:
        writer.line("a\nb")
        writer.line("\udc80")
    assert Path(file).read_bytes() == b"a b\n?\n"
    with pytest.raises(UsageError, match="cannot be written"), output(str(tmp_path / "no" / "folder")):
        pass


def test_a_full_disk_is_the_work_failing() -> None:
    from antiphon.errors import DiskError

    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:
        writer = Writer(full, "the file")
        writer.line("x")
        with pytest.raises(DiskError, match="the file cannot be written"):
            writer.flush()
        with pytest.raises(OSError):
            full.close()


@pytest.mark.parametrize("content", [b"in 3 hours\rin 5 days\r", b"a\rb", b"a\r\rb\r"])
def test_lines_that_end_with_carriage_returns_alone_are_refused(tmp_path: Path, content: bytes) -> None:
    # F18: all lines of such a file were one, with one answer.
    with pytest.raises(DataError, match=r"but has carriage returns alone \(.*lines:1\)\. .*tr '"):
        list(lines(write(tmp_path, content)))
    assert list(lines(write(tmp_path, content + b"\n"))) == naive(content + b"\n")


@pytest.mark.parametrize("kind", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark_is_refused(tmp_path: Path, kind: str) -> None:
    # Of ASCII it is UTF-8 too, with a NUL between all letters.
    with pytest.raises(DataError, match=rf"has NUL bytes \(.*lines:1\)\. .* iconv -f {kind.replace('16-', '16')} -t"):
        list(lines(write(tmp_path, "in 3 hours\nthe 5th\n".encode(kind))))
