"""Parses a sentencepiece model file: pieces, scores, and the normalizer.

The file is a protocol buffer message, `ModelProto` of sentencepiece_model.proto: field 1 holds the pieces, field 2 the
settings of training, field 3 the normalizer. The library sentencepiece loads the file first, so that broken files do
not get here; its Python interface does not expose these fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # SentencePiece.Type
UNIGRAM, BPE = 1, 2  # TrainerSpec.ModelType


@dataclass(frozen=True)
class SentencePiece:
    text: str
    score: float
    type: int


@dataclass(frozen=True)
class SpmFile:
    """A parsed model. unigram: else BPE. charsmap: the compiled table of the normalizer; empty if there is none."""

    pieces: list[SentencePiece]
    unigram: bool
    byte_fallback: bool
    charsmap: bytes


def read_spm(content: bytes) -> SpmFile:
    """Parse `content`. ValueError if it is truncated, or a model of words or characters."""
    pieces: list[SentencePiece] = []
    kind, fallback, charsmap = UNIGRAM, False, b""
    for number, value in _fields(content):
        if number == 1 and isinstance(value, bytes):
            pieces.append(_piece(value))
        elif number == 2 and isinstance(value, bytes):  # TrainerSpec
            settings = dict(_fields(value))
            kind, fallback = settings.get(3, UNIGRAM), settings.get(35, 0) == 1
        elif number == 3 and isinstance(value, bytes):  # NormalizerSpec
            table = dict(_fields(value)).get(2, b"")
            charsmap = table if isinstance(table, bytes) else b""
    if kind not in (UNIGRAM, BPE):
        raise ValueError(f"its kind is {kind}, neither unigram nor BPE")
    return SpmFile(pieces, kind == UNIGRAM, fallback, charsmap)


def _piece(content: bytes) -> SentencePiece:
    values = dict(_fields(content))
    text, score, type = values.get(1, b""), values.get(2, b"\0" * 4), values.get(3, NORMAL)
    assert isinstance(text, bytes) and isinstance(score, bytes) and isinstance(type, int), "another kind of file"
    return SentencePiece(text.decode(), struct.unpack("<f", score)[0], type)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: number and value, varints as int and all others as bytes."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        wire = key & 7
        if wire == 0:
            value, place = _varint(content, place)
            yield key >> 3, value
            continue
        if wire == 2:
            length, place = _varint(content, place)
        else:
            length = {1: 8, 5: 4}.get(wire, -1)
        if length < 0 or place + length > len(content):
            raise ValueError("a field ends after the end of the file")
        yield key >> 3, content[place : place + length]
        place += length


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            raise ValueError("a number ends after the end of the file")
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number has too many bytes")
