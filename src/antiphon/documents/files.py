"""Files as documents, by the end of their names: .txt, .tsv, .html, .srt and .docx.

A text file is UTF-8, or UTF-16 with a byte order mark; the result has the same encoding, and the mark if there was one.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from antiphon.documents.document import Document
from antiphon.documents.html import html_pieces
from antiphon.documents.protection import DocumentProtection, Protection
from antiphon.documents.subtitles import read_subtitles
from antiphon.documents.tables import read_table
from antiphon.documents.texts import lines_as_pieces
from antiphon.documents.units import Pieces
from antiphon.documents.word import read_word
from antiphon.errors import DataError
from antiphon.utf8 import convert_hint, without_mark

FORMATS = (".txt", ".tsv", ".html", ".htm", ".srt", ".docx")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def read_file(
    name: str,
    data: bytes,
    *,
    language: str | None = None,
    protection: Protection | None = None,
    translated_attributes: Sequence[str] = (),
) -> Document:
    """The document of a file, whose `join` gives the bytes of the new one. The end of `name` says what it is.

    DataError, which names the file, for another format, another encoding, or a damaged file.
    """
    kind, own = PurePosixPath(name).suffix.lower(), DocumentProtection(protection)
    if kind not in FORMATS:
        raise DataError(f"a file must be one of {' '.join(FORMATS)}, but is `{name[-80:]}`. Convert it.")
    name = PurePosixPath(name.replace("\\", "/")).name[-80:]
    if kind == ".docx":
        return read_word(name, data, language, own)
    text, finish = _decoded(name, data)
    pieces: Pieces
    if kind == ".txt":
        pieces = lines_as_pieces(text, language, own)
    elif kind == ".tsv":
        pieces = read_table(text, language, own)
    elif kind == ".srt":
        pieces = read_subtitles(text, language, own, name=name)
    else:
        pieces = html_pieces(text, language, own, translated_attributes)
    return Document([pieces], own, finish)


def _decoded(name: str, data: bytes) -> tuple[str, Callable[[list[str]], bytes]]:
    """The text of a file, and the way back."""
    mark, encoding = next(((mark, code) for mark, code in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    must = f"`{name}` must be UTF-8, or UTF-16 with a byte order mark, but"
    if data.startswith(_UTF32) or (not mark and without_mark(data[:1024])):
        raise DataError(f"{must} has NUL bytes. {convert_hint(data[:1024])}")
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        place = error.start + len(mark)
        raise DataError(f"{must} byte {place} (0x{data[place]:02x}) is not. {convert_hint(data[:1024])}") from error
    return text, lambda texts: mark + texts[0].encode(encoding)
