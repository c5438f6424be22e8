"""The messages between the training and its readers: JSON, and numbers as bytes. Nothing in them is run.

A chunk is a header (JSON) and three arrays: a row of COLUMNS numbers for each item, the lengths of its examples, and
all their ids.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from antiphon.data.epochs.encoding import EncodedItem
from antiphon.data.lines import Cursor, DataPlace
from antiphon.data.mixture import MixtureItem, MixturePosition
from antiphon.errors import AntiphonError, ConfigError, DataError, ReadError, WorkError

# place: file, line; item: number, plain; cursor: source, shard, line, part, offsets (2, -1 for none); position: repeat,
# read, number, taken; and the number of examples
COLUMNS = 15
_SIZES = struct.Struct("<QQQQ")
_ERRORS: dict[str, type[AntiphonError]] = {kind.__name__: kind for kind in (DataError, ConfigError, WorkError)}


class ChunkMessage(NamedTuple):
    """An answer of a reader: its header, and the items of a chunk."""

    header: dict[str, Any]
    items: Iterator[EncodedItem]


def pack_chunk(header: Mapping[str, Any], items: Sequence[EncodedItem]) -> bytes:
    """A chunk as bytes."""
    files: dict[tuple[str, str], int] = {}
    columns, lengths, ids = array("q"), array("I"), array("I")
    for item, examples in items:
        place, at = item.place, item.position
        cursor = at.cursor
        file = files.setdefault((place.file, place.target_file), len(files))
        columns.extend((file, place.line, item.number, item.plain, cursor.source, cursor.shard, cursor.line))
        columns.extend((cursor.part, *cursor.offsets, *(-1,) * (2 - len(cursor.offsets))))
        columns.extend((at.repeat, at.read, at.number, at.taken, len(examples)))
        for source, target in examples:
            assert isinstance(source, list), "rows of images and sound are not read by readers"
            lengths.extend((len(source), len(target)))
            ids.extend(source)
            ids.extend(target)
    head = json.dumps({**header, "files": list(files)}).encode()
    parts = [head, columns.tobytes(), lengths.tobytes(), ids.tobytes()]
    return b"".join([_SIZES.pack(*map(len, parts)), *parts])


def unpack_chunk(message: bytes) -> ChunkMessage:
    """The inverse of `pack_chunk`."""
    at, parts = _SIZES.size, list[bytes]()
    for size in _SIZES.unpack_from(message):
        parts.append(message[at : at + size])
        at += size
    header = json.loads(parts[0])
    columns, lengths, ids = array("q", parts[1]), array("I", parts[2]), array("I", parts[3])
    return ChunkMessage(header, _items(header, columns, lengths, ids))


def _items(
    header: Mapping[str, Any], columns: array[int], lengths: array[int], ids: array[int]
) -> Iterator[EncodedItem]:
    files, texts, stream = header["files"], header.get("texts"), header["stream"]
    pair = at = 0
    for row in range(len(columns) // COLUMNS):
        file, line, number, plain, source, shard, cursor_line, part, first, second, *counts = columns[
            row * COLUMNS : (row + 1) * COLUMNS
        ].tolist()
        offsets = () if first < 0 else (first,) if second < 0 else (first, second)
        cursor = Cursor(source, cursor_line, offsets, part, shard)
        repeat, read, kept, taken, example_count = counts
        position = MixturePosition(cursor, repeat, read, kept, taken, stream)
        place = DataPlace(files[file][0], line, files[file][1])
        examples: list[Any] = []
        for _ in range(example_count):
            middle = at + lengths[pair]
            end = middle + lengths[pair + 1]
            examples.append((ids[at:middle], ids[middle:end]))
            pair, at = pair + 2, end
        text = "" if texts is None else texts[row]
        yield EncodedItem(MixtureItem("", text, place, number, position, bool(plain)), examples)


def position_list(position: MixturePosition) -> list[Any]:
    """A position as JSON values."""
    return [list(position.cursor), *position[1:]]


def position_of(values: Sequence[Any]) -> MixturePosition:
    """The inverse of `position_list`."""
    source, line, offsets, part, shard = values[0]
    return MixturePosition(Cursor(source, line, tuple(offsets), part, shard), *values[1:])


def error_fields(error: BaseException) -> dict[str, Any]:
    """An error as JSON values."""
    if isinstance(error, ReadError):
        return {"kind": "ReadError", "file": str.__str__(error.file), "reason": error.reason, "row": error.row}
    kind = next((name for name, known in _ERRORS.items() if isinstance(error, known)), None)
    text = " ".join(str(error).split())
    return {"kind": kind or "WorkError", "text": text if kind else f"a reader failed: {type(error).__name__}: {text}"}


def error_of(fields: Mapping[str, Any]) -> AntiphonError:
    """The inverse of `error_fields`."""
    if fields["kind"] == "ReadError":
        return ReadError(fields["file"], fields["reason"], row=fields["row"])
    return _ERRORS[fields["kind"]](fields["text"])
