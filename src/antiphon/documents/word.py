"""Word documents (.docx): the paragraphs of the text, headers, footers and notes.

Only texts change, and `xml:space="preserve"` is added where a text gets white space at its ends; everything else is
the XML that was there, character for character. What stands between two texts of a paragraph (the end of a run, its
properties, hyperlinks, breaks, references) keeps its order and is placed by the alignment, so that the XML stays well
formed whatever the answer. A tab ends a segment. No library is needed for this: expat checks the XML, and refuses a
DTD, before it is cut.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from antiphon.documents.archive import OfficeArchive
from antiphon.documents.document import Document
from antiphon.documents.inline import InlineText
from antiphon.documents.protection import DocumentProtection
from antiphon.documents.units import Pieces, Unit
from antiphon.errors import DataError

_NAMESPACES = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_TYPES = re.compile(r"word.*(?:main|header|footer|footnotes|endnotes)\+xml$")
_TOKEN = re.compile(
    r"<!--.*?-->|<\?.*?\?>|<!\[CDATA\[.*?\]\]>|<(/?)([^\s<>/!?]+)((?:[^<>\"'/]|\"[^\"]*\"|'[^']*'|/(?!>))*+)(/?)>",
    re.DOTALL,
)
_PROPERTY = re.compile(r"<[^/][^<>]*>")
_UNSEEN = ("lang", "noProof", "proofErr")  # properties of a run that nobody sees
_INVALID = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_word(name: str, data: bytes, language: str | None, protection: DocumentProtection) -> Document:
    """A .docx file. DataError, which names the file, if it is none, is damaged, or has a DTD."""
    archive = OfficeArchive(data, name=name)
    texts: dict[str, str] = {}
    for part in _parts_with_text(archive, name):
        texts[part] = _checked(archive.parts[part], name=name, part=part)
    streams = [_WordReader(text, language, protection).read() for text in texts.values()]

    def finish(results: list[str]) -> bytes:
        encoded = {
            part: result.encode(_encoding(archive.parts[part]))
            for (part, text), result in zip(texts.items(), results, strict=True)
            if result != text
        }
        return archive.with_parts(encoded)

    return Document(streams, protection, finish)


def _parts_with_text(archive: OfficeArchive, name: str) -> list[str]:
    """The parts that the list of content types calls the main text, headers, footers and notes; the main one first."""
    listed = archive.parts.get("[Content_Types].xml")
    found: list[tuple[bool, str]] = []
    if listed is not None:
        for tag in _TOKEN.finditer(_checked(listed, name=name, part="[Content_Types].xml")):
            values = dict(re.findall(r"(PartName|ContentType)\s*=\s*[\"']([^\"']*)", tag[3] or ""))
            part = values.get("PartName", "").lstrip("/")
            if part in archive.parts and _TYPES.search(values.get("ContentType", "")):
                found.append(("main" not in values["ContentType"], part))
    if not any(not other for other, _ in found):
        raise DataError(f"`{name}` must be a .docx file, but has no text of Word in it. Save it again in its program.")
    return [part for _, part in sorted(set(found))]


def _encoding(data: bytes) -> str:
    return "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"


def _checked(data: bytes, *, name: str, part: str) -> str:
    """The text of an XML part that is well formed and has no DTD, in UTF-8 or UTF-16."""
    where = f"`{name}` must be a .docx file, but its part {part}"

    def refuse(*_: object) -> None:
        raise DataError(f"{where} has a DTD, which is refused. Save it again in its program.")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return data.decode(_encoding(data))
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise DataError(f"{where} is damaged ({error}). Save it again in its program.") from error


class _WordReader:
    """Cuts one XML part into pieces. `_separator` is where the markup behind the last text begins."""

    def __init__(self, text: str, language: str | None, protection: DocumentProtection) -> None:
        self._text, self._language, self._protection = text, language, protection
        self._pieces: list[str | Unit] = []
        self._done = 0
        self._prefix = self._own_prefix()
        self._start_paragraph()

    def _own_prefix(self) -> str:
        root = next((tag for tag in _TOKEN.finditer(self._text) if tag[2]), None)
        for prefix, space in re.findall(r"xmlns(:[^\s=]+)?\s*=\s*[\"']([^\"']*)", root[3] if root else ""):
            if space in _NAMESPACES:
                return f"{prefix[1:]}:" if prefix else ""
        return "w:"

    def _start_paragraph(self) -> None:
        self._inline = InlineText()
        self._separator: int | None = None
        self._is_space = False
        self._last_format: frozenset[str] = frozenset()

    def read(self) -> Pieces:
        """All pieces of the part."""
        properties: frozenset[str] = frozenset()
        links: list[str] = []
        properties_start = None
        for tag in _TOKEN.finditer(self._text):
            name = (tag[2] or "").removeprefix(self._prefix)
            if not tag[2] or not tag[2].startswith(self._prefix):
                continue
            opens, closes = not tag[1] and not tag[4], bool(tag[1])
            if name in ("p", "tab", "sectPr") and not (name == "tab" and properties_start is not None):
                self._flush()
            elif name == "r" and opens:
                properties = frozenset(links[-1:])
            elif name == "rPr" and opens:
                properties_start = tag.end()
            elif name == "rPr" and closes and properties_start is not None:
                properties = properties | self._properties(properties_start, tag.start())
                properties_start = None
            elif name == "hyperlink":
                links = [*links, f"link {tag.start()}"] if opens else links[:-1]
            elif name in ("br", "cr"):
                self._is_space = True
            elif name == "t" and opens:
                self._add_text(tag, properties)
        self._flush()
        return (*self._pieces, self._text[self._done :])

    def _properties(self, start: int, end: int) -> frozenset[str]:
        """The properties of a run that are seen."""
        found = (match[0] for match in _PROPERTY.finditer(self._text, start, end))
        unseen = tuple(f"<{self._prefix}{name}" for name in _UNSEEN)
        return frozenset(one.rstrip("/> ") for one in found if not one.startswith(unseen))

    def _add_text(self, tag: re.Match[str], properties: frozenset[str]) -> None:
        """The text of a `<w:t>`, and before it the markup since the last one."""
        start = tag.end()
        end = self._text.find("<", start)
        if end <= start:
            return
        if self._separator is not None:
            raw = self._text[self._separator : start]
            kept = raw if "xml:space" in tag[3] else f'{raw[:-1].rstrip()} xml:space="preserve">'
            formats = (self._last_format, properties)
            self._inline.add_separator(raw, self._separator, is_space=self._is_space, changed=kept, formats=formats)
        self._inline.add_text(self._text[start:end], start)
        self._separator, self._is_space, self._last_format = end, False, properties

    def _flush(self) -> None:
        """The sentences of the paragraph so far become units."""
        for unit, end in self._inline.units(self._language, self._protection, self._between, escape_xml):
            self._pieces += [self._text[self._done : unit.start], unit]
            self._done = end
        self._start_paragraph()

    def _between(self, start: int, end: int) -> Pieces:
        return (self._text[start:end],)


def escape_xml(text: str) -> str:
    """Text of an XML document; characters that XML has not become spaces."""
    text = _INVALID.sub(" ", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
