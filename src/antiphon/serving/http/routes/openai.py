"""OpenAI's API for recordings (platform.openai.com/docs/api-reference/audio), for models that take speech.

Errors are `{"error": {"message", "type", "param", "code"}}`.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from antiphon.serving.http.admission import with_key
from antiphon.serving.http.bodies import MULTIPART, make, read_multipart
from antiphon.serving.http.calls import answers, count_items, stream
from antiphon.serving.http.context import context_of
from antiphon.serving.http.errors import JsonResponse, invalid
from antiphon.serving.http.languages import ModelLanguages
from antiphon.serving.http.openapi import NAMED, described
from antiphon.serving.http.schemas import EVENT, EVENTS, NUMBER, STRING, obj, of_class
from antiphon.serving.service import Event, GenerateCall, TextPiece
from antiphon.settings import Range, Settings

router = APIRouter(dependencies=[Depends(with_key)])
_UNSUPPORTED = (
    "prompt", "include", "keywords", "languages", "chunking_strategy", "known_speaker_names",
    "known_speaker_references", "timestamp_granularities",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TranscriptionRequest(Settings):
    """What /v1/audio/transcriptions takes beside `file`. Fields of OpenAI that are not here are refused by name."""

    model: str
    """Name of a served model."""
    language: str | None = None
    """Code of the language that is spoken, for a multilingual model."""
    response_format: Literal["json", "text", "verbose_json"] = "json"
    """Form of the answer."""
    temperature: Annotated[float, Range(low=0, high=2)] | None = None
    """Temperature of sampling; 0: no sampling."""
    stream: bool = False
    """Send server-sent events while the recording is transcribed."""


_SECONDS = obj({"type": STRING, "seconds": NUMBER})
_TRANSCRIPTION = obj(
    {"text": STRING, "usage": _SECONDS, "task": STRING, "language": STRING, "duration": NUMBER},
    optional=("usage", "task", "language", "duration"),
)
_FILE = {"type": "string", "format": "binary", "description": "A .wav file."}


def _body() -> dict[str, Any]:
    schema = of_class(TranscriptionRequest)
    return {
        **schema,
        "properties": {"file": _FILE, **schema["properties"]},
        "required": ["file", *schema["required"]],
    }


@router.post(
    **described(
        "/v1/audio/transcriptions",
        "Transcribe a recording.",
        tag="OpenAI",
        answer=_TRANSCRIPTION,
        contents={"text/plain": STRING, EVENTS: EVENT},
        body={MULTIPART: _body()},
        errors=NAMED,
    )
)
async def transcribe(request: Request) -> Response:
    context = context_of(request)
    fields, files = await read_multipart(request)
    for name in fields:
        if name in _UNSUPPORTED and fields[name] not in ("", "[]"):
            raise invalid(name, "is not supported by the models of this server. Leave it out.")
    body = make(TranscriptionRequest, {name: value for name, value in fields.items() if name not in _UNSUPPORTED})
    if set(files) != {"file"}:
        wrong = next((name for name in files if name != "file"), None)
        raise invalid(wrong or "file", "must be given as a file." if wrong is None else "is not a known field.")
    status = context.status_of(body.model)
    if status.info is not None and status.info.input != "speech":
        raise invalid("model", f"must be one that takes recordings, but `{status.name}` takes texts.")
    count_items(request, 1, model=status.name)
    content = files["file"].content
    if not content:
        raise invalid("file", "must be a .wav file, but is empty.")
    call = GenerateCall(
        inputs=[content],
        settings=_settings(body, context.languages.of(status, is_default=False)),
        model=status.name,
        stream=body.stream,
        timeout_seconds=context.settings.request_timeout_seconds,
    )
    if body.stream:
        return await stream(request, call, _encode)
    (answer,) = await answers(request, call)
    return _response(str(answer.answer["text"]), body, duration(content))


def _settings(body: TranscriptionRequest, languages: ModelLanguages) -> dict[str, Any]:
    found: dict[str, Any] = {} if not body.temperature else {"temperature": body.temperature}
    if body.language is not None and languages.own_codes:
        code = languages.find(body.language, languages.sources)
        if code is None:
            known = ", ".join(languages.sources[:20])
            raise invalid("language", f"must be one of {known}, but is `{body.language[:40]}`.")
        found["source_language"] = languages.own_codes[code]
    return found


def _encode(event: Event) -> dict[str, Any]:
    if isinstance(event, TextPiece):
        return {"type": "transcript.text.delta", "delta": event.text}
    return {"type": "transcript.text.done", "text": event.answer["text"]}


def _response(text: str, body: TranscriptionRequest, seconds: float | None) -> Response:
    if body.response_format == "text":
        return Response(f"{text}\n", media_type="text/plain")
    usage = {} if seconds is None else {"usage": {"type": "duration", "seconds": seconds}}
    if body.response_format == "json":
        return JsonResponse({"text": text, **usage})
    facts = {"task": "transcribe", "language": body.language or "", "duration": seconds or 0.0}
    return JsonResponse({**facts, "text": text, **usage})


def duration(content: bytes) -> float | None:
    """The seconds of a .wav file; None if Python's reader does not know its format."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            return round(file.getnframes() / file.getframerate(), 3)
    except (wave.Error, EOFError, ZeroDivisionError):
        return None
