"""Messages between the server and a model process, and their encoding: JSON with a length before it, never pickle.

    frame = encode([SubmitInput(job=7, input="in 3 hours", row=0)])      # bytes: 4 of the length, then JSON
    decode(frame[4:])                                                    # [SubmitInput(job=7, ...)]

A frame holds a list of messages, each a list of its type's name and its fields. Bytes (recordings, images) are base64.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from antiphon.errors import WorkError

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 2**30
_BYTES = "base64"  # the key of an object that stands for bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class StartModel:
    """The first message to a process: load this model."""

    paths: Sequence[str]
    device: str = "auto"
    dtype: str | None = None
    quantize: str | None = None
    threads: int | None = None
    imports: Sequence[str] = ()
    warm_up: bool = True
    max_attention_values: int = 2_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitInput:
    """Answer one input. `row` is its index in the call, on which sampling depends."""

    job: int
    input: str | bytes
    row: int
    settings: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    details: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorePairs:
    """Score some pairs of sources and targets. `row` is the index of the first one in the call."""

    job: int
    sources: Sequence[str | bytes]
    targets: Sequence[str]
    row: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowAttention:
    """Compute the attention maps of a pair."""

    job: int
    source: str | bytes
    target: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelJob:
    """Forget a job; nothing more is sent about it."""

    job: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Ping:
    """Asks for a heartbeat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelLoaded:
    """The model is ready. `info` are the fields of a `ModelInfo`."""

    info: dict[str, Any]
    warnings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadFailed:
    """The model cannot be loaded; the process ends. `permanent`: another try would fail in the same way."""

    message: str
    permanent: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceMade:
    """A further piece of a job's text."""

    job: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobDone:
    """A job's result: an answer as a JSON object, scores, or maps."""

    job: int
    result: Any
    warnings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFailed:
    """A job's error. `code` is that of a ServiceError; `field` is the wrong setting; `trace` is for the log."""

    job: int
    code: str
    message: str
    field: str | None = None
    trace: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """A sign of life, with the numbers of steps and of seconds in them since the start, and the process's memory."""

    steps: int = 0
    step_seconds: float = 0.0
    memory_bytes: int = 0
    notes: Sequence[str] = ()


Message = (
    StartModel
    | SubmitInput
    | ScorePairs
    | ShowAttention
    | CancelJob
    | Ping
    | ModelLoaded
    | LoadFailed
    | PieceMade
    | JobDone
    | JobFailed
    | Heartbeat
)
_TYPES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        StartModel,
        SubmitInput,
        ScorePairs,
        ShowAttention,
        CancelJob,
        Ping,
        ModelLoaded,
        LoadFailed,
        PieceMade,
        JobDone,
        JobFailed,
        Heartbeat,
    )
}


def encode(messages: Sequence[Message]) -> bytes:
    """A frame with these messages. WorkError if it is longer than MAX_FRAME_BYTES."""
    listed = [
        [type(each).__name__, {part.name: getattr(each, part.name) for part in fields(each)}] for each in messages
    ]
    content = json.dumps(listed, default=_as_json, separators=(",", ":")).encode("ascii")
    if len(content) > MAX_FRAME_BYTES:
        raise WorkError(f"a message must have at most {MAX_FRAME_BYTES} bytes, but has {len(content)}.")
    return LENGTH.pack(len(content)) + content


def decode(content: bytes) -> list[Message]:
    """The messages of a frame, without its length. ValueError or TypeError for anything else."""
    return [_TYPES[name](**values) for name, values in json.loads(content, object_hook=_from_json)]


def frame_length(head: bytes) -> int:
    """The length that stands before a frame's content. WorkError if it is more than MAX_FRAME_BYTES."""
    (length,) = LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise WorkError(f"a message must have at most {MAX_FRAME_BYTES} bytes, but {length} are announced.")
    return length


def _as_json(value: object) -> dict[str, str]:
    if not isinstance(value, bytes):
        raise TypeError(f"a message holds plain data, but this is a {type(value).__name__}")
    return {_BYTES: base64.b64encode(value).decode("ascii")}


def _from_json(value: dict[str, Any]) -> Any:
    """Bytes, or the object itself. No other object of a message has this single key: settings have none of that name,
    and labels are a value's keys only beside others."""
    if value.keys() == {_BYTES} and isinstance(value[_BYTES], str):
        return base64.b64decode(value[_BYTES])
    return value
