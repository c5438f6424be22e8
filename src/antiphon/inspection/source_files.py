"""What is in the files of images and sound that are sources: whether they can be read, how long they are, what repeats.

files = SourceFiles(MediaSources(kind, max_length=1024))
files.look(pair)                    # FileFacts(length=120, key=...); DataError if training could not read the file
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from antiphon.data.lines import Pair
from antiphon.data.media.contents import content_key
from antiphon.data.media.references import Reference, Spool
from antiphon.data.media.rows import MediaSources
from antiphon.inputs import InputKind

WHOLE_FILES = 20_000  # of a data set that are decoded; of further ones the head is read, and each tenth is decoded
_STRIDE = 10


class FileFacts(NamedTuple):
    """The number of rows of the features of a source, a key of its content and the text beside it, b"" of a text
    without a file, and a hash of all of it."""

    length: int
    key: bytes
    hash: int


class SourceFiles:
    """Looks into the files of sources, as training would."""

    def __init__(self, media: MediaSources) -> None:
        self._media = replace(media, bad_rows="error")
        self._passing = Spool()  # its files end with the references to them
        self._looked = 0

    @property
    def kind(self) -> InputKind[Any]:
        """The kind of the sources."""
        return self._media.kind

    @property
    def joined(self) -> bool:
        """Whether sources are texts, some of which have a file."""
        return self.kind.joins_text

    @property
    def unit(self) -> str:
        """What the lengths of sources count."""
        return "characters" if self.joined else self.kind.unit

    def look(self, pair: Pair) -> FileFacts:
        """What is in the source of `pair`. DataError if it cannot be read, or is too long for the model."""
        source = pair.source
        if not isinstance(source, Reference):
            return FileFacts(len(source), b"", hash(source))
        length = self._media.measure(source, pair.row.place)
        if self._looked < WHOLE_FILES or self._looked % _STRIDE == 0:
            self._media.features(source, f"`{source}` ({pair.row.place})")
        self._looked += 1
        key = content_key(source)
        number = int.from_bytes(key[:8], "little", signed=True)
        return FileFacts(len(source.prompt) if self.joined else length, key, number)

    def passing(self, pair: Pair) -> Pair:
        """`pair` without the bytes of its source in memory, for as long as it is checked."""
        return _with(self._passing, pair)

    def sampled(self, pair: Pair) -> Pair:
        """`pair` without the bytes of its source in memory, for as long as the sample."""
        return _with(self._media.spool, pair)


def _with(spool: Spool, pair: Pair) -> Pair:
    if not isinstance(pair.source, Reference):
        return pair
    return Pair(spool.keep(pair.source), pair.target, pair.row._replace(record={}))


def text_of(source: str) -> str:
    """The text of a source: of a file, the text beside it."""
    return source.prompt if isinstance(source, Reference) else source
