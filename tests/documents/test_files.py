"""Files: formats, encodings, and one clear line for what is broken."""

from __future__ import annotations

import re

import pytest
from documents.stubs import any_answer, any_texts, backwards, same, translate, word_by_word
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.documents import FORMATS, AlignedSpan, Protection, SegmentAnswer, read_file
from antiphon.errors import DataError

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]
SRT = """1
00:00:01,000 --> 00:00:02,500
{\\an8}<i>This is a long</i>
sentence that goes

2
00:00:02,600 --> 00:00:04,000 X1:40
on here. And ends.


3
00:00:04,100 --> 00:00:05,000
- Hi, Tom & Jerry.
- Hello <3.

00:00:09.000 --> 00:00:10.500
after a pause
"""


def texts(name: str, content: str) -> list[str]:
    return [segment.text for segment in read_file(name, content.encode(), language="en").segments]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "A.HTML", "dir/a.htm"])
def test_the_encoding_stays(encoding: str, name: str) -> None:
    data = "Käse. Brot 日本\n".encode(encoding)
    document = read_file(name, data)
    assert document.join(same(document.segments)).content == data
    result = translate(document, word_by_word).content
    assert result == "kÄSE. bROT 日本\n".encode(encoding)


def test_a_mark_of_big_endian_stays() -> None:
    data = b"\xfe\xff" + "One\n".encode("utf-16-be")
    document = read_file("a.txt", data)
    assert document.join([SegmentAnswer("Ein\ud800s")]).content == b"\xfe\xff" + "Ein\ufffds\n".encode("utf-16-be")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.pdf", b"", r"a file must be one of \.txt .* \.docx, but is `a\.pdf`\. Convert it\."),
        ("txt", b"", r"a file must be one of"),
        ("a.txt", b"Gr\xfc\xdfe", r"`a\.txt` must be UTF-8, or UTF-16 .*, but byte 2 \(0xfc\) is not\. .*latin1"),
        ("../../b.html", b"\xff\xfe\x00", r"`b\.html` must be UTF-8, or UTF-16 .*, but byte 2 \(0x00\) is not"),
        ("a.txt", b"\xff\xfe\0\0a\0\0\0", r"`a\.txt` must be UTF-8, .* has NUL bytes\. .*utf-32"),
        ("a.tsv", "One two".encode("utf-16-le"), r"has NUL bytes\. .*utf-16le"),
        ("a.srt", b"Hello there.", r"subtitles must have cues with times .*, but `a\.srt` has no cue"),
        ("a.srt", b"WEBVTT\n\n00:01:00.000 --> 00:02:00.000\nx", r"`a\.srt` has text before its first cue"),
        ("a.docx", b"x", r"`a\.docx` must be a \.docx file, but is damaged or none"),
    ],
)
def test_broken_files(name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_file(name, data)
    assert "\n" not in str(caught.value)


def test_every_format_is_read() -> None:
    for name in FORMATS:
        if name not in (".srt", ".docx"):
            assert read_file(f"a{name}", b"").join([]).content == b""


TABLE = 'Name\tNote. More\t"He said ""Hi"".\tTab"\t5\r\n\t\t"x\n"\t"open" quote\nlast'


def test_cells() -> None:
    assert texts("a.tsv", TABLE) == [
        "Name", "Note.", "More", 'He said "Hi".', "Tab", "5", "x", '"open" quote', "last",
    ]  # fmt: skip
    result = translate(read_file("a.tsv", TABLE.encode(), language="en"), word_by_word).content
    assert result == TABLE.swapcase().encode()


tables = st.lists(st.sampled_from(["\t", "\t", "\n", "\r\n", '"', '""', "a. B", "word", " ", "{x}"]), max_size=20)


@settings(max_examples=300, deadline=None)
@given(st.one_of(tables.map("".join), any_texts), st.integers(0, 50))
def test_tables_keep_their_columns(text: str, seed: int) -> None:
    document = read_file("a.tsv", text.encode())
    assert translate(document, same).content == text.encode()
    result = translate(document, any_answer(seed, ["a\tb", "c\nd", "\r", "e"])).content
    assert isinstance(result, bytes)
    if '"' not in text:  # else a cell may have these itself
        lines, others = text.split("\n"), result.decode().split("\n")
        assert [line.count("\t") for line in lines] == [line.count("\t") for line in others]


def test_sentences_over_cues() -> None:
    assert texts("a.srt", SRT) == [
        "This is a long sentence that goes on here.", "And ends.", "- Hi, Tom & Jerry.", "- Hello <3.", "after a pause",
    ]  # fmt: skip
    document = read_file("a.srt", SRT.encode(), language="en")
    result = translate(document, word_by_word).content
    assert result == SRT.swapcase().replace("x1:40", "X1:40").replace("<I>", "<i>").replace("</I>", "</i>").replace(
        "{\\AN8}", "{\\an8}"
    ).encode()  # fmt: skip


def test_the_alignment_divides_a_sentence_among_its_cues() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nI have\n\n2\n00:00:02,100 --> 00:00:03,000\nseen the film.\n"
    document = read_file("a.srt", text.encode(), language="en")
    assert [segment.text for segment in document.segments] == ["I have seen the film."]
    spans = [
        AlignedSpan((0, 1), (0, 3), 0.9), AlignedSpan((2, 6), (4, 8), 0.9), AlignedSpan((7, 11), (18, 25), 0.9),
        AlignedSpan((12, 15), (9, 12), 0.9), AlignedSpan((16, 20), (13, 17), 0.9),
    ]  # fmt: skip
    result = document.join([SegmentAnswer("Ich habe den Film gesehen.", spans)]).content
    assert result == text.replace("I have", "Ich habe").replace("seen the film.", "den Film gesehen.").encode()


HEAD = re.compile(r"\d{1,3}:\d\d:\d\d[,.]\d+ --> [\d:,.]+")
CUES = ["1\n", "00:00:01,000 --> 00:00:02,000\n", "00:01:00.5 --> 00:01:01.0\r\n", "\n", "\n\n", "Word",
        "more. ", "And", "<i>", "</i>", "{\\an8}", "- Hi", "12", "&amp;", "<b", "-->", " ", "é"]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(CUES), max_size=20).map("".join), st.integers(0, 50))
def test_cues_keep_their_times(text: str, seed: int) -> None:
    text = "0\n00:00:00,000 --> 00:00:00,500\n" + text
    document = read_file("a.srt", text.encode())
    assert translate(document, same).content == text.encode()
    times = [line for line in text.splitlines() if HEAD.match(line)]
    for ask in (word_by_word, backwards, any_answer(seed, ["a\n\nb", "", "two words"])):
        result = translate(document, ask).content
        assert isinstance(result, bytes)
        assert [line for line in result.decode().splitlines() if HEAD.match(line)] == times


@pytest.mark.parametrize("before", ["1\n1\n1\n<b1\n", "a\n" + "00:00:01,000 --> 00:00:02,000\n" * 2, "a <b\r\n"])
def test_no_word_stands_in_the_line_of_a_head(before: str) -> None:
    text = f"0\n00:00:00,000 --> 00:00:00,500\n{before}00:00:01,000 --> 00:00:02,000\nb\nc"
    times = [line for line in text.splitlines() if HEAD.match(line)]
    for ask in (same, word_by_word, backwards, *(any_answer(seed, ["a\n\nb", "two words"]) for seed in range(20))):
        result = translate(read_file("a.srt", text.encode()), ask).content
        assert [line for line in result.decode().splitlines() if HEAD.match(line)] == times


def test_settings_reach_every_format() -> None:
    protection = Protection(["placeholders"], {"cat": "Katze"})
    for name, text in [
        ("a.txt", "{x} cat b"),
        ("a.tsv", "{x} cat b"),
        ("a.html", "<p>{x} cat b"),
        ("a.srt", SRT + "{x} cat b"),
    ]:
        document = read_file(name, text.encode(), protection=protection)
        assert document.segments[-1].required == ("{x}", "Katze")
    page = read_file("a.html", b"<p title='T'>x", translated_attributes=["title"])
    assert [segment.text for segment in page.segments] == ["T", "x"]
