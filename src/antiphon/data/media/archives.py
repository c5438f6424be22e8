"""Folders and tar archives of files of sound or images, with the texts beside them.

    folder/cat/1.png, folder/cat/2.png        # {"image": ..., "label": "cat"}
    shard.tar: a.wav, a.txt                   # {"audio": ..., "text": ...}, as WebDataset writes it

The files of a row have one name up to the first dot. The sound or image is the field `audio` or `image`. The others are
fields by their suffix: .txt (also .gt.txt and .lab) is `text`, .cls is `label`, the keys of .json are fields of their
own. `label` is also the folder that the files are in, if they are not at the top. In a tar the files of a row follow
one another; the rows of a folder are in the order of their names.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from antiphon.config import SourceConfig
from antiphon.data.bad_rows import row_or_fault
from antiphon.data.lines import Cursor, DataPlace, DataRow, open_bytes, unreadable
from antiphon.data.media.references import MEMBER, Reference, Span
from antiphon.data.nested import nested_row
from antiphon.errors import DataError
from antiphon.text.kinds import IMAGES, SOUNDS
from antiphon.urls import RemoteName, known_name, without_query

TAR = ".tar"
_TABLES = (".tsv", ".csv", ".jsonl", ".parquet", ".gz", ".zst")
_FIELDS = {"txt": "text", "gt.txt": "text", "lab": "text", "cls": "label"}
_TEXT_BYTES = 1 << 24  # of a text beside an image; more is no text


class _File(NamedTuple):
    """A file of a row: its name inside, its reference, and how its content is read."""

    name: str
    reference: Reference
    read: Callable[[], bytes]


def is_folder(path: str) -> bool:
    """Whether a path is a folder of files. One with the suffix of a table is not."""
    if isinstance(known_name(path), RemoteName) or path.lower().endswith(_TABLES):
        return False
    return os.path.isdir(path)


def is_archive(path: str) -> bool:
    """Whether a path or a URL is a tar archive."""
    return without_query(path).lower().endswith(TAR)


def folder_rows(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The rows of a folder after `start`."""
    assert isinstance(source.path, str)
    groups: dict[str, list[_File]] = {}
    for inside, folders, names in os.walk(source.path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                file = os.path.join(inside, name)
                relative = os.path.relpath(file, source.path)
                groups.setdefault(_key(relative), []).append(_File(relative, Reference(file), partial(_read, file)))
    for number, key in enumerate(sorted(groups), 1):
        if number > start.line:
            cursor = Cursor(start.source, number, (), 0, start.shard)
            yield from _row(source, sorted(groups[key]), DataPlace(source.path, number), cursor)


def tar_rows(source: SourceConfig, start: Cursor) -> Iterator[DataRow]:
    """The rows of a tar archive after `start`."""
    assert isinstance(source.path, str)
    archive, number = source.path, start.line
    try:
        with open_bytes(archive) as stream:
            stream.seek(sum(start.offsets))
            with tarfile.open(fileobj=stream, mode="r:") as found:
                for group, after in _groups(found, archive):
                    number += 1
                    cursor = Cursor(start.source, number, (after,), 0, start.shard)
                    yield from _row(source, group, DataPlace(archive, number), cursor)
    except tarfile.TarError as error:
        problem = f"the archive `{archive}` must be an uncompressed tar file, but cannot be read ({error})"
        raise DataError(f"{problem}. Unpack it, or write it without compression.") from error
    except OSError as error:
        raise unreadable(archive, error) from error


def _groups(found: tarfile.TarFile, archive: str) -> Iterator[tuple[list[_File], int]]:
    """The files of each row of an archive, and the byte where the next row begins."""
    group: list[_File] = []
    while (member := found.next()) is not None:
        found.members = []  # pyright: ignore[reportAttributeAccessIssue]  (it would hold every member)
        if not member.isfile() or os.path.basename(member.name).startswith("."):
            continue
        if group and _key(group[0].name) != _key(member.name):
            yield group, member.offset
            group = []
        span = Span(archive, member.offset_data, member.size)
        reference = Reference(f"{archive}{MEMBER}{member.name}", file=archive, span=span)
        content = b"" if is_media(member.name) else _content(found, member)
        group.append(_File(member.name, reference, partial(bytes, content)))
    if group:
        yield group, found.offset


def _content(found: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = found.extractfile(member)
    return b"" if file is None else file.read(_TEXT_BYTES)


def is_media(name: str) -> bool:
    """Whether a file is sound or an image, by its name."""
    return _ending(name).rpartition(".")[2] in IMAGES + SOUNDS


def _key(name: str) -> str:
    """What the names of the files of a row have in common: the name up to its first dot."""
    folder, base = os.path.split(name)
    return os.path.join(folder, base.partition(".")[0])


def _row(source: SourceConfig, files: list[_File], place: DataPlace, cursor: Cursor) -> Iterator[DataRow]:
    """The row of some files; none if there is no sound or image among them."""
    media = [file for file in files if is_media(file.name)]
    if media:
        yield row_or_fault(partial(_made, source, files, media, place, cursor), place, cursor)


def _ending(name: str) -> str:
    return os.path.basename(name).partition(".")[2].lower()


def _made(source: SourceConfig, files: list[_File], media: list[_File], place: DataPlace, cursor: Cursor) -> DataRow:
    record: dict[str, Any] = {}
    if label := os.path.basename(os.path.dirname(media[0].name)):
        record["label"] = label
    for file in files:
        ending = _ending(file.name)
        if file in media:
            kind = "image" if ending.rpartition(".")[2] in IMAGES else "audio"
            record.setdefault(kind, file.reference)
        elif ending == "json":
            record |= _object(file, place)
        else:
            record[_FIELDS.get(ending, ending)] = _text(file, place)
    return nested_row(record, source, place, cursor)


def _object(file: _File, place: DataPlace) -> Mapping[str, Any]:
    text = _text(file, place)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"`{file.name}` must be a JSON object, but cannot be read: {error} ({place}).") from error
    if not isinstance(found, dict):
        raise DataError(f"`{file.name}` must be a JSON object, but is a {type(found).__name__} ({place}).")
    return found


def _text(file: _File, place: DataPlace) -> str:
    try:
        return file.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"`{file.name}` must be a text in UTF-8, but is not ({place}). Convert it.") from error


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(_TEXT_BYTES)
    except OSError as error:
        raise unreadable(file, error) from error
