"""Tables of tab-separated values: each cell is a text of its own."""

from __future__ import annotations

import re

from antiphon.documents.protection import DocumentProtection
from antiphon.documents.texts import text_pieces
from antiphon.documents.units import Pieces, Unit

# A cell in quotes may have tabs, line ends and doubled quotes inside, as spreadsheets write them.
_CELL = re.compile(r'"((?:[^"]|"")*+)"(?=[\t\r\n]|\Z)|[^\t\r\n]+')


def read_table(text: str, language: str | None, protection: DocumentProtection) -> Pieces:
    """The cells; tabs and line ends stay, and no answer brings new ones."""
    pieces: list[str | Unit] = []
    done = 0
    for cell in _CELL.finditer(text):
        start, end = cell.span() if cell[1] is None else cell.span(1)
        pieces.append(text[done:start])
        if cell[1] is None:
            pieces += text_pieces(cell[0], language, protection, start=start)
        else:
            pieces += text_pieces(cell[1].replace('""', '"'), language, protection, start=start, escape=_doubled)
        done = end
    return (*pieces, text[done:])


def _doubled(text: str) -> str:
    return text.replace('"', '""')
