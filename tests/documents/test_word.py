"""Word documents: texts change, formats stay, and hostile archives are refused."""

from __future__ import annotations

import io
import zipfile
from xml.etree import ElementTree

import pytest
from documents.stubs import any_answer, backwards, same, translate, word_by_word
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.documents import AlignedSpan, Protection, SegmentAnswer, archive, read_file
from antiphon.errors import DataError

NAMESPACE = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
W = f"{{{NAMESPACE}}}"
TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"
TYPES = f"""<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/word/document.xml" ContentType="{TYPE}.document.main+xml"/>
<Override PartName="/word/header1.xml" ContentType="{TYPE}.header+xml"/>
<Override PartName="/word/footnotes.xml" ContentType="{TYPE}.footnotes+xml"/></Types>"""
RUNS = (
    '<w:p><w:pPr><w:tabs><w:tab w:val="left"/></w:tabs></w:pPr><w:r><w:t xml:space="preserve">Hello </w:t></w:r>'
    '<w:r><w:rPr><w:b/><w:lang w:val="en-US"/></w:rPr><w:t>bold</w:t></w:r><w:proofErr w:type="spellEnd"/>'
    '<w:r><w:rPr><w:b/></w:rPr><w:t xml:space="preserve"> word</w:t></w:r>'
    '<w:hyperlink r:id="x"><w:r><w:t> and link</w:t></w:r></w:hyperlink>'
    "<w:r><w:t>, &amp; &lt;more&gt;.</w:t><w:br/><w:t>Then this.</w:t><w:tab/><w:t>A column</w:t></w:r></w:p>"
    "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    "<w:p><w:r><w:instrText>PAGE</w:instrText></w:r><w:r><w:delText>gone</w:delText></w:r></w:p>"
    "<w:p><w:r><w:t>before</w:t><w:pict><w:txbxContent><w:p><w:r><w:t>box</w:t></w:r></w:p></w:txbxContent></w:pict>"
    "<w:t>after</w:t></w:r></w:p>"
)


def part(body: str, root: str = "document") -> str:
    spaces = f'xmlns:w="{NAMESPACE}" xmlns:r="urn:r"'
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    return f"{head}\n<w:{root} {spaces}><w:body>{body}</w:body></w:{root}>"


def docx(body: str = RUNS, **others: str | bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("[Content_Types].xml", TYPES)
        made.writestr("word/document.xml", part(body))
        made.writestr("word/header1.xml", part("<w:p><w:r><w:t>The header</w:t></w:r></w:p>", "hdr"))
        made.writestr("word/media/image1.png", b"\x89PNG\x00", zipfile.ZIP_STORED)
        for name, content in others.items():
            made.writestr(name, content)
    return out.getvalue()


def parts(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        assert made.testzip() is None
        return {name: made.read(name) for name in made.namelist()}


def result_of(body: str, *answers: SegmentAnswer) -> str:
    """The body after translation; the header's answer is added."""
    joined = read_file("a.docx", docx(body), language="en").join([*answers, SegmentAnswer("Kopf")])
    assert isinstance(joined.content, bytes)
    return parts(joined.content)["word/document.xml"].decode().split("<w:body>")[1].split("</w:body>")[0]


def test_what_is_sent_of_a_document() -> None:
    document = read_file("a.docx", docx(), language="en")
    assert [segment.text for segment in document.segments] == [
        "Hello bold word and link, & <more>.", "Then this.", "A column", "cell", "before", "box", "after", "The header",
    ]  # fmt: skip


def test_formats_follow_the_alignment() -> None:
    source, target = "Hello bold word and link, & <more>.", "Fettes Wort und Link, hallo & <mehr>."
    pairs = [("bold", "Fettes"), ("word", "Wort"), ("Hello", "hallo"), ("and", "und"), ("link", "Link")]
    spans = [
        AlignedSpan((source.index(a), source.index(a) + len(a)), (target.index(b), target.index(b) + len(b)), 0.9)
        for a, b in pairs
    ]
    body = RUNS[: RUNS.index("<w:br/>")] + "</w:r></w:p>"
    result = result_of(body, SegmentAnswer(target, spans))
    root = ElementTree.fromstring(part(result))
    runs = [
        (
            "".join(text.text or "" for text in run.iter(f"{W}t")),
            run.find(f".//{{{NAMESPACE}}}b") is not None,
        )
        for run in root.iter(f"{W}r")
    ]
    assert "".join(text for text, _ in runs) == target
    assert "".join(text for text, is_bold in runs if is_bold).strip() == "Fettes Wort"


def test_only_texts_change() -> None:
    data = docx()
    document = read_file("a.docx", data, language="en")
    assert document.join(same(document.segments)).content == data, "the very bytes"
    before, after = parts(data), parts(bytes(translate(document, word_by_word).content))  # type: ignore[arg-type]
    assert list(before) == list(after)
    assert {name for name in before if before[name] != after[name]} == {"word/document.xml", "word/header1.xml"}
    text = after["word/document.xml"].decode()
    plain = text.replace(' xml:space="preserve"', "")
    assert plain.swapcase().lower() == before["word/document.xml"].decode().replace(' xml:space="preserve"', "").lower()
    assert "hELLO " in text and ">BOLD<" in text and "&amp; &lt;MORE&gt;.</w:t><w:br/>" in text
    assert "<w:instrText>PAGE</w:instrText>" in text and "<w:delText>gone</w:delText>" in text


def test_white_space_at_the_ends_of_a_text_is_preserved() -> None:
    body = "<w:p><w:r><w:t>One</w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>two</w:t></w:r></w:p>"
    result = result_of(body, SegmentAnswer("Eins zwei", [AlignedSpan((0, 3), (0, 4)), AlignedSpan((3, 6), (5, 9))]))
    assert result == (
        '<w:p><w:r><w:t>Eins</w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t xml:space="preserve"> zwei</w:t></w:r></w:p>'
    )


PIECES = ["<w:r>{}</w:r>", "<w:r><w:rPr><w:b/></w:rPr>{}</w:r>", "<w:hyperlink><w:r>{}</w:r></w:hyperlink>"]
TEXTS = [
    "<w:t>One two</w:t>", '<w:t xml:space="preserve"> a. B </w:t>', "<w:t/>", "<w:br/>", "<w:tab/>", "<w:t>&amp;</w:t>",
    "<w:t> </w:t>", "<w:t>é&#160;5&#x20;km</w:t>", "</w:r><w:r>", "<w:t>{name}</w:t>", "<w:t><![CDATA[a<b]]></w:t>",
    '<w:t xml:space = "preserve" >x y</w:t>', "<!-- <w:t> -->", "<w:footnoteReference w:id='1'/>",
]  # fmt: skip
runs = st.tuples(st.sampled_from(PIECES), st.lists(st.sampled_from(TEXTS), max_size=4).map("".join))
paragraphs = st.lists(runs.map(lambda pair: pair[0].format(pair[1])), max_size=5).map(
    lambda r: f"<w:p>{''.join(r)}</w:p>"
)


@settings(max_examples=300, deadline=None)
@given(st.lists(paragraphs, max_size=3).map("".join), st.integers(0, 50))
def test_the_xml_keeps_its_form(body: str, seed: int) -> None:
    data = docx(body)
    document = read_file("a.docx", data, protection=Protection(["placeholders"]))
    assert translate(document, same).content == data
    for ask in (word_by_word, backwards, any_answer(seed, ["a <b> & c", "", "\x00\x0b\ufffe", "zwei Wörter"])):
        result = translate(document, ask).content
        assert isinstance(result, bytes)
        before, after = (ElementTree.fromstring(parts(d)["word/document.xml"]) for d in (data, result))
        assert [e.tag for e in before.iter()] == [e.tag for e in after.iter()], "the same elements in the same order"
        for element in after.iter(f"{W}t"):
            text = element.text or ""
            preserved = "{http://www.w3.org/XML/1998/namespace}space" in element.attrib
            was_so = text in [e.text for e in before.iter(f"{W}t")]
            assert preserved or was_so or text == text.strip(), "white space that Word would drop"


def damaged(name: str, change: str) -> bytes:
    """A file whose part `name` has another content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for own, content in parts(docx()).items():
            made.writestr(own, change if own == name else content)
    return out.getvalue()


DTD = '<!DOCTYPE w:document [<!ENTITY a "x"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
BOMB = part("<w:p/>").replace("<w:document", f"{DTD}<w:document", 1)
ENCRYPTED = docx()[:6] + b"\x01" + docx()[7:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (docx()[:-30], "is damaged or none"),
        (docx()[:200] + b"\xff\xff" + docx()[202:], "is damaged or none"),
        (damaged("word/document.xml", "<w:p>"), r"part word/document\.xml is damaged \(no element found"),
        (damaged("word/document.xml", BOMB), r"part word/document\.xml has a DTD"),
        (damaged("[Content_Types].xml", BOMB), "has a DTD"),
        (damaged("[Content_Types].xml", "<Types/>"), "has no text of Word in it"),
        (docx(**{"../evil.xml": "x"}), r"a part called `\.\./evil\.xml`, which leads out of it"),
        (docx(**{"/evil.xml": "x"}), "leads out of it"),
        (docx(**{"c:\\evil.xml": "x"}), "leads out of it"),
        (damaged("word/document.xml", part("").replace('encoding="UTF-8"', 'encoding="latin1"') + "é"), "is damaged"),
    ],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_file("my.docx", data)
    assert str(caught.value).startswith("`my.docx` must be a .docx file, but") and "\n" not in str(caught.value)


def test_limits_of_an_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = docx(**{"word/media/big.bin": b"\0" * 2**20})
    assert len(bomb) < 2**14
    monkeypatch.setattr(archive, "MAX_PART_BYTES", 2**20)
    read_file("a.docx", bomb)
    monkeypatch.setattr(archive, "MAX_PART_BYTES", 2**20 - 1)
    with pytest.raises(DataError, match="unpacks to more than 0 MiB in one part or 256 MiB in all"):
        read_file("a.docx", bomb)
    monkeypatch.setattr(archive, "MAX_PART_BYTES", 2**26)
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 2**20)
    with pytest.raises(DataError, match="unpacks to more than 64 MiB in one part or 1 MiB in all"):
        read_file("a.docx", bomb)
    monkeypatch.setattr(archive, "MAX_ENTRIES", 4)
    with pytest.raises(DataError, match="has 5 parts, more than 4"):
        read_file("a.docx", bomb)


def test_other_prefixes_and_encodings() -> None:
    body = part("<w:p><w:r><w:t>One two</w:t></w:r></w:p>").replace("w:", "x:").replace("xmlns:w", "xmlns:x")
    body = body.replace("UTF-8", "UTF-16")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in parts(docx()).items():
            made.writestr(name, body.encode("utf-16") if name == "word/document.xml" else content)
    joined = read_file("a.docx", out.getvalue()).join([SegmentAnswer("Eins"), SegmentAnswer("Kopf")])
    assert isinstance(joined.content, bytes)
    text = parts(joined.content)["word/document.xml"].decode("utf-16")
    assert "<x:t>Eins</x:t>" in text
    ElementTree.fromstring(text.encode("utf-16"))
