"""HTML: every tag once and in its order, no text lost, whatever the answers and alignments."""

from __future__ import annotations

import html.parser

import pytest
from documents.stubs import any_answer, any_texts, backwards, same, translate, word_by_word
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.documents import ATTRIBUTES, AlignedSpan, Document, Protection, Segment, SegmentAnswer, read_html
from antiphon.documents.markup import attributes, tokens

PAGE = """<!DOCTYPE html>
<html lang=en><head><title>Tom &amp; Jerry</title><style>p > b { color: red }</style>
<script>if (a < b) document.write("<p>no</p>")</script></head>
<body><h1>The big   title</h1><p class="x">Hello <b>big <i>bad</i></b> world.\tThe <a href="x?a=1&b=2"
 title="A nice link">link</a> is here.<br>
Next&nbsp;line, 10&nbsp;km <img src=a.png alt='A "small" picture'> away &lt;now&gt;.</p>
<ul><li>One<li>Two <code>foo(&lt;x&gt;)</code> here</ul>
<pre>left   alone. Really.</pre><p translate="no">Not me</p><div class="a notranslate">Nor <b>me</b></div>
<!-- a comment. With <b>tags</b> --> a < b &unknown; &copy 5 <x id=1/> end</body></html>
"""
PARTS = [
    "<b>", "</b>", "<i>", "</i>", "<a href='x'>", "</a>", "<br>", "<br/>", "<img alt=\"a cat\">", "<p>", "</p>",
    "<div>", "</div>", "<li>", "<!-- c -->", "<!DOCTYPE html>", "<code>", "</code>", "<span translate=no>", "</span>",
    "<x id=1/>", "<pre>", "</pre>", "<script>", "</script>", "<title>", "</title>", "<svg>", "</svg>", "<td>", "<tr>",
    "&amp;", "&lt;", "&nbsp;", "&", "<", ">", "</", "<!", "<a b=\"", "<a b='>'>", " ", "\n", "  ", ". ", "word", "Two",
    "and so on", "3", "é", "日本。", "A.", "{name}", "https://a.b",
]  # fmt: skip
WELL_FORMED = [
    "<b>", "</b>", "<i>", "</i>", "<p>", "</p>", "<br>", "<div>", "</div>", "<img src=x>", "<!-- c -->", "&amp;",
    "&lt;", "&nbsp;", " ", "\n", "  ", ". ", "word", "Two", "and so on", "3", "é", "日本。", "A.", "{name}", "https://a.b",
]  # fmt: skip
pages = st.one_of(st.lists(st.sampled_from(PARTS), max_size=25).map("".join), any_texts)


def tags(page: str) -> list[str]:
    return [token.raw for token in tokens(page) if token.kind not in ("text", "raw_text")]


def texts(document: Document) -> list[str]:
    return [segment.text for segment in document.segments]


class Reader(html.parser.HTMLParser):
    """The visible text, by Python's own parser."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.hidden = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in ("script", "style")
        self.text += " " if tag == "br" else ""

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else data


def test_what_is_sent_of_a_page() -> None:
    document = read_html(PAGE, language="en", translated_attributes=ATTRIBUTES)
    assert texts(document) == [
        "Tom & Jerry", "The big title", "Hello big bad world.", "The link is here.", "A nice link",
        "Next line, 10 km away <now>.", 'A "small" picture', "One", "Two foo(<x>) here", "a < b &unknown; © 5 end",
    ]  # fmt: skip
    assert [segment.needs_alignment for segment in document.segments] == [
        False, False, True, True, False, True, False, False, True, True,
    ]  # fmt: skip
    assert "A nice link" not in texts(read_html(PAGE, language="en"))


def test_a_page_in_another_language() -> None:
    joined = translate(read_html(PAGE, language="en", translated_attributes=["title", "alt"]), word_by_word)
    page = str(joined.content)
    assert "<title>tOM &amp; jERRY</title>" in page
    assert "hELLO <b>BIG <i>BAD</i></b> WORLD." in page
    assert (
        '<a href="x?a=1&b=2"\n title="a NICE LINK">LINK</a> IS HERE.<br>\nnEXT LINE, 10&nbsp;KM <img src=a.png' in page
    )
    assert "alt='a &quot;SMALL&quot; PICTURE'> AWAY &lt;NOW&gt;.</p>" in page
    assert "<li>tWO <code>foo(&lt;x&gt;)</code> HERE</ul>" in page, "code is copied"
    assert '<pre>left   alone. Really.</pre><p translate="no">Not me</p>' in page
    assert 'class="a notranslate">Nor <b>me</b></div>' in page
    assert "A &lt; B &amp;UNKNOWN; © 5 <x id=1/> END</body>" in page
    assert not joined.warnings
    assert " ".join(Reader(page).text.swapcase().split()) == " ".join(
        Reader(PAGE).text.replace("foo(<x>)", "FOO(<X>)").replace("left   alone. Really.", "LEFT ALONE. rEALLY.")
        .replace("Not me", "nOT ME").replace("Nor me", "nOR ME").split()
    )  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(pages, st.booleans())
def test_equal_answers_give_the_page(page: str, attributes: bool) -> None:
    document = read_html(
        page,
        language="en",
        translated_attributes=ATTRIBUTES if attributes else (),
        protection=Protection(["placeholders", "urls"] if attributes else []),
    )
    assert translate(document, same).content == page


@settings(max_examples=600, deadline=None)
@given(pages, st.integers(0, 99))
def test_every_tag_once_and_in_order(page: str, seed: int) -> None:
    document = read_html(page, language="en", protection=Protection(["placeholders", "urls"]))
    for ask in (word_by_word, backwards, any_answer(seed, ["ein Wort", "x < y & z", "<b>", "", "日本"])):
        joined = translate(document, ask)
        assert tags(str(joined.content)) == tags(page)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WELL_FORMED), max_size=25).map("".join))
def test_no_text_is_lost(page: str) -> None:
    """By Python's own parser: the words of the result are those of the page, answered word by word."""
    joined = translate(read_html(page, language="en"), word_by_word)
    before, after = (Reader(text).text.replace("\xa0", " ").split() for text in (page, str(joined.content)))
    assert "".join(before).swapcase() == "".join(after) or "".join(before) == "".join(after)


def test_the_alignment_moves_inline_tags() -> None:
    document = read_html("<p>I saw the <b>red</b> car yesterday.</p>", language="en")
    source, target = document.segments[0].text, "Gestern sah ich das rote Auto."
    pairs = [("yesterday", "Gestern"), ("I", "ich"), ("saw", "sah"), ("the", "das"), ("red", "rote"), ("car", "Auto")]
    spans = [
        AlignedSpan((source.index(a), source.index(a) + len(a)), (target.index(b), target.index(b) + len(b)), 0.7)
        for a, b in pairs
    ]
    joined = document.join([SegmentAnswer(target, spans)])
    assert joined.content == "<p>Gestern sah ich das <b>rote</b> Auto.</p>"
    assert document.join([SegmentAnswer(target)]).content != joined.content, "the alignment placed the tag"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<b>Hello</b> world. <i>All of it.</i>", ["Hello world.", "All of it."]),
        ("<p>One<p>Two", ["One", "Two"]),
        ("one<br>two<br><br>three", ["one two", "three"]),
        ("<svg><title>x</title><text>no</text></svg>yes<div>more", ["yes", "more"]),
        ("<svg>never closed<div>more", ["more"]),
        ("<span translate=no>Brand</span> is good", ["Brand is good"]),
        ("<div translate=no>no <p translate=yes>yes</p> no</div>", ["yes"]),
        ('a <b title="x > y">c</b> d', ["a c d"]),
        ("text <b unclosed", ["text"]),
        ("a<!-- x. y -->b", ["ab"]),
        ("<textarea>a</textarea><noscript>b</noscript>", ["b"]),
    ],
)
def test_how_markup_is_read(page: str, expected: list[str]) -> None:
    assert texts(read_html(page, language="en")) == expected


def test_copied_code_is_there_even_if_the_model_drops_it() -> None:
    document = read_html("<p>Type <code>ls &lt; a</code> here, now.</p>", language="en")
    assert document.segments[0].required == ("ls < a",)

    def drop(segments: list[Segment]) -> list[SegmentAnswer]:
        return [SegmentAnswer(segment.text.replace("ls < a", "").upper()) for segment in segments]

    assert translate(document, drop).content == "<p>TYPE <code>ls &lt; a</code> HERE, NOW.</p>"


def test_attributes_are_cut_as_browsers_do() -> None:
    tag = "<a href=x?a=b title='it>s' ALT = \"d\" disabled x= >"
    found = {one.name: (tag[one.start : one.end], one.quote) for one in attributes(tag)}
    assert found == {
        "href": ("x?a=b", ""), "title": ("it>s", "'"), "alt": ("d", '"'), "disabled": ("", ""), "x": ("", ""),
    }  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(pages)
def test_tokens_are_the_text(page: str) -> None:
    found = list(tokens(page))
    assert "".join(token.raw for token in found) == page
    assert all(page[token.start :].startswith(token.raw) for token in found)
