"""OpenAI's API for recordings (platform.openai.com/docs/api-reference/audio), for models that take speech.

Errors are `{"error": {"message", "type", "param", "code"}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from antiphon.generation.timed.subtitles import subtitles
from antiphon.serving.http.admission import with_key
from antiphon.serving.http.bodies import MULTIPART, make, read_multipart
from antiphon.serving.http.calls import answers, count_items, stream
from antiphon.serving.http.context import context_of
from antiphon.serving.http.errors import JsonResponse, invalid
from antiphon.serving.http.languages import ModelLanguages
from antiphon.serving.http.openapi import NAMED, described
from antiphon.serving.http.requests import TAKES
from antiphon.serving.http.schemas import EVENT, EVENTS, NUMBER, STRING, obj, of_class
from antiphon.serving.service import Event, GenerateCall, TextPiece
from antiphon.settings import Range, Settings

router = APIRouter(dependencies=[Depends(with_key)])
_UNSUPPORTED = (
    "prompt", "include", "keywords", "languages", "chunking_strategy", "known_speaker_names",
    "known_speaker_references",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TranscriptionRequest(Settings):
    """What /v1/audio/transcriptions takes beside `file`. Fields of OpenAI that are not here are refused by name."""

    model: str
    """Name of a served model."""
    language: str | None = None
    """Code of the language that is spoken, for a multilingual model."""
    response_format: Literal["json", "text", "verbose_json", "srt", "vtt"] = "json"
    """Form of the answer; the last three have the times of segments."""
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = ()
    """With verbose_json: the times that it has, of segments (the default), words, or both."""
    temperature: Annotated[float, Range(low=0, high=2)] | None = None
    """Temperature of sampling; 0: no sampling."""
    stream: bool = False
    """Send server-sent events while the recording is transcribed."""


_TIMED = ("verbose_json", "srt", "vtt")
_WORD = obj({"word": STRING, "start": NUMBER, "end": NUMBER})
_SEGMENT = obj(
    {
        "id": NUMBER, "start": NUMBER, "end": NUMBER, "text": STRING, "temperature": NUMBER, "avg_logprob": NUMBER,
        "compression_ratio": NUMBER, "no_speech_prob": NUMBER,
    },
    optional=("avg_logprob", "compression_ratio", "no_speech_prob"),
)  # fmt: skip
_MEASURES = {
    "avg_logprob": "log_probability", "compression_ratio": "compression_ratio",
    "no_speech_prob": "no_speech_probability",
}  # fmt: skip
_SECONDS = obj({"type": STRING, "seconds": NUMBER})
_TRANSCRIPTION = obj(
    {
        "text": STRING, "usage": _SECONDS, "task": STRING, "language": STRING, "duration": NUMBER,
        "segments": {"type": "array", "items": _SEGMENT}, "words": {"type": "array", "items": _WORD},
    },
    optional=("usage", "task", "language", "duration", "segments", "words"),
)  # fmt: skip
_FILE = {"type": "string", "format": "binary", "description": "A sound file: .wav, .flac, .ogg, .mp3."}


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
    if isinstance(one := fields.get("timestamp_granularities"), str):
        fields["timestamp_granularities"] = [one] if one not in ("", "[]") else []
    for name in fields:
        if name in _UNSUPPORTED and fields[name] not in ("", "[]"):
            raise invalid(name, "is not supported by the models of this server. Leave it out.")
    body = make(TranscriptionRequest, {name: value for name, value in fields.items() if name not in _UNSUPPORTED})
    if set(files) != {"file"}:
        wrong = next((name for name in files if name != "file"), None)
        raise invalid(wrong or "file", "must be given as a file." if wrong is None else "is not a known field.")
    status = context.status_of(body.model)
    if status.info is not None and status.info.input != "speech":
        takes = TAKES[status.info.input]
        raise invalid("model", f"must be one that takes recordings, but `{status.name}` takes {takes}.")
    timed = status.info is not None and status.info.timestamps
    _check_times(body, timed=timed)
    count_items(request, 1, model=status.name)
    content = files["file"].content
    if not content:
        raise invalid("file", "must be a sound file, but is empty.")
    call = GenerateCall(
        inputs=[content],
        settings=_settings(body, context.languages.of(status, is_default=False), timed=timed),
        model=status.name,
        stream=body.stream,
        details=() if body.stream or body.response_format not in ("json", "verbose_json") else ("seconds",),
        timeout_seconds=context.settings.request_timeout_seconds,
    )
    if body.stream:
        return await stream(request, call, _encode)
    (answer,) = await answers(request, call)
    return _response(answer.answer, body)


def _check_times(body: TranscriptionRequest, *, timed: bool) -> None:
    """ApiError for times that the model or the form of the answer does not have."""
    if body.response_format in ("srt", "vtt") and not timed:
        raise invalid("response_format", "must be json, text or verbose_json: the model has no timestamps.")
    if body.timestamp_granularities and not timed:
        raise invalid("timestamp_granularities", "must be left out: the model has no timestamps.")
    if body.timestamp_granularities and body.response_format != "verbose_json":
        raise invalid("timestamp_granularities", f"needs verbose_json, but the form is {body.response_format}.")


def _settings(body: TranscriptionRequest, languages: ModelLanguages, *, timed: bool) -> dict[str, Any]:
    """The search settings: with timestamps for a form that has them, and in windows for a model that has them."""
    found: dict[str, Any] = {} if not body.temperature else {"temperature": body.temperature}
    if timed:
        found["overflow"] = "window"
    if timed and body.response_format in _TIMED:
        found["timestamps"] = "words" if "word" in body.timestamp_granularities else "segments"
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


def _response(answer: Mapping[str, Any], body: TranscriptionRequest) -> Response:
    text, segments, seconds = str(answer["text"]), answer.get("segments", ()), answer.get("seconds")
    if body.response_format in ("srt", "vtt"):
        kind = f".{body.response_format}"
        return Response(subtitles(segments, kind), media_type="text/vtt" if kind == ".vtt" else "text/plain")
    if body.response_format == "text":
        return Response(f"{text}\n", media_type="text/plain")
    usage = {} if seconds is None else {"usage": {"type": "duration", "seconds": seconds}}
    if body.response_format == "json":
        return JsonResponse({"text": text, **usage})
    language = body.language or answer.get("language") or ""
    facts = {"task": "transcribe", "language": language, "duration": seconds or 0.0}
    times = _times(segments, body) if "segments" in answer else {}
    return JsonResponse({**facts, "text": text, **times, **usage})


def _times(segments: Sequence[Mapping[str, Any]], body: TranscriptionRequest) -> dict[str, Any]:
    """The segments and words of an answer, by OpenAI's names."""
    asked, found = body.timestamp_granularities or ("segment",), {}
    if "segment" in asked:
        found["segments"] = [
            {
                "id": number,
                **{name: segment[name] for name in ("start", "end", "text", "temperature")},
                **{theirs: segment[ours] for theirs, ours in _MEASURES.items() if ours in segment},
            }
            for number, segment in enumerate(segments)
        ]
    if "word" in asked:
        words = [word for segment in segments for word in segment.get("words", ())]
        found["words"] = [{"word": word["text"], "start": word["start"], "end": word["end"]} for word in words]
    return found
