"""The time is linear in the length, for text that is made to be slow too (row 14 of the reliability table)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest
from documents.stubs import word_by_word

from antiphon.documents import (
    ATTRIBUTES,
    KINDS,
    AlignedSpan,
    Document,
    Protection,
    Segment,
    SegmentAnswer,
    read_file,
    read_html,
    read_text,
)

PROTECTION = Protection(KINDS, {"cat": "Katze", "the big dog": "der große Hund"})
PIECES = [
    "<b>a</b> ", "a <b>", "<b><p>", "<p><b>", "</b>", "<br>", "<br>a", '<a href="x">word</a> ', "<!-- x -->a", "<!--",
    "<code>x</code> ", "a<code>", "<svg>", "<svg>a", "&amp;", "&#", "&", "a&nbsp;b ", "{", "{{", "{{a}} ", "%", "%(",
    "www.", "www.))))", "http://)", "a@", "a@b.", "1.", "1,", "cat ", '"a. ', "a. ", "? ", " ", "\t", "\n", "\r\n",
    "日本。", ":a", "<x id=1/>", '<a title="t. u">', "<title>", "<ul><li>", "<p translate=no>", "w", "<", "</",
    '<a b="', "<a b='>' ", "“", "(", "<script>", "a <i>b</i> c d e f g h. ", "<b>a. ",
    "<b>\t", "00:00:01,000 --> 00:00:02,000\n",
]  # fmt: skip
READERS: dict[str, Callable[[str], Document]] = {
    "text": lambda text: read_text(text, language="en", protection=PROTECTION),
    "html": lambda text: read_html(text, language="en", protection=PROTECTION, translated_attributes=ATTRIBUTES),
    "srt": lambda text: read_file("a.srt", f"00:00:01,000 --> 00:00:02,000\n{text}".encode(), protection=PROTECTION),
}
SHORT, LONG = 2_500, 20_000
MOST_SECONDS = 1.5  # for LONG; alone on a machine it is below 0.2, which row 14 allows
FAST = 0.1  # too short to say more


def lost(segments: Sequence[Segment]) -> list[SegmentAnswer]:
    """Answers without protected strings, aligned word by word to the reverse."""
    found = []
    for segment in segments:
        size = len(segment.text)
        spans = [
            AlignedSpan((i, min(i + 3, size)), (max(size - i - 3, 0), size - i), 0.5) for i in range(0, size - 1, 3)
        ]
        found.append(SegmentAnswer(segment.text[::-1], spans))
    return found


def seconds(read: Callable[[str], Document], text: str) -> float:
    """The processor time of both rounds."""
    began = time.process_time()
    document = read(text)
    answers = lost(document.segments)
    document.join(answers, word_by_word(document.repairs(answers)))
    return time.process_time() - began


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("reader", READERS)
def test_the_time_is_linear(reader: str, piece: str) -> None:
    short, long = (piece * (size // len(piece)) for size in (SHORT, LONG))
    brief, most = float("inf"), MOST_SECONDS
    for _ in range(6):  # other processes take the cache meanwhile: the least times count
        most = min(most, seconds(READERS[reader], long))
        if most < FAST:
            return
        brief = min(brief, seconds(READERS[reader], short))
        if most < MOST_SECONDS and most < 3 * LONG / SHORT * brief:
            return
    pytest.fail(f"{LONG} characters of {piece!r} take {most:.2f} s, {SHORT} take {brief:.3f} s")


def test_a_page_of_4000_words() -> None:
    """Three levels of markup, once and 16 times."""
    sentence = "The <b>quick <i>brown</i> fox</b> jumps over <a href='x'>the <em>lazy</em> dog</a> again today. "
    page = "".join(f"<div><p class=a{i}>{sentence * 4}</p></div>\n" for i in range(91))
    assert len(page.split()) > 4000
    one, many = min(seconds(READERS["html"], page) for _ in range(3)), float("inf")
    for _ in range(3):  # the least of three counts, so the first that is short enough will do
        many = min(many, seconds(READERS["html"], page * 16))
        if many < 3 * 16 * one:
            return
    pytest.fail(f"16 pages take {many:.2f} s, one takes {one:.3f} s")
