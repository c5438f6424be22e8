"""The API of LibreTranslate (docs.libretranslate.com): JSON and form bodies, one text or several, files.

Errors are `{"error": message}`. A key may be in the field `api_key`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from antiphon.documents import FORMATS
from antiphon.serving.http.admission import admit, key_of
from antiphon.serving.http.bodies import FORM, JSON, MULTIPART, make, read_fields
from antiphon.serving.http.calls import count_answer, count_inputs, while_connected
from antiphon.serving.http.context import context_of
from antiphon.serving.http.errors import JsonResponse
from antiphon.serving.http.languages import AUTO, Direction, detect, language_entry
from antiphon.serving.http.openapi import described
from antiphon.serving.http.requests import check_alternatives, check_texts, listed
from antiphon.serving.http.schemas import BOOLEAN, INTEGER, NUMBER, STRING, array, obj, of_class
from antiphon.serving.http.translating import TranslateOptions, Translation, sample, translate_each
from antiphon.settings import CountOrZero, Settings

R = TypeVar("R", bound=Settings)
router = APIRouter()
_TAG = "LibreTranslate"


@dataclass(frozen=True, kw_only=True)
class LibreTranslateRequest(Settings):
    """What /translate takes."""

    q: str | tuple[str, ...]
    """A text, or a list of texts."""
    source: str
    """Code of the source language, or auto."""
    target: str
    """Code of the target language."""
    format: Literal["text", "html"] = "text"
    """Whether the texts are plain, or HTML whose tags are kept."""
    alternatives: CountOrZero = 0
    """Number of further translations."""
    api_key: str | None = None
    """A key, where the server needs one."""


@dataclass(frozen=True, kw_only=True)
class DetectRequest(Settings):
    """What /detect takes."""

    q: str
    """A text."""
    api_key: str | None = None
    """A key, where the server needs one."""


@dataclass(frozen=True, kw_only=True)
class LibreLanguagesRequest(Settings):
    """What /languages takes."""

    api_key: str | None = None
    """A key, where the server needs one."""


_ONE_OR_MANY = {"anyOf": [STRING, array(STRING)]}
_DETECTED = obj({"confidence": NUMBER, "language": STRING})
_TRANSLATED = obj(
    {
        "translatedText": _ONE_OR_MANY,
        "alternatives": {"anyOf": [array(STRING), array(array(STRING))]},
        "detectedLanguage": {"anyOf": [_DETECTED, array(_DETECTED)]},
    },
    optional=("alternatives", "detectedLanguage"),
)
_LANGUAGES = array(obj({"code": STRING, "name": STRING, "targets": array(STRING)}))
_SETTINGS = obj(
    {
        "apiKeys": BOOLEAN,
        "keyRequired": BOOLEAN,
        "charLimit": INTEGER,
        "frontendTimeout": INTEGER,
        "suggestions": BOOLEAN,
        "filesTranslation": BOOLEAN,
        "supportedFilesFormat": array(STRING),
        "language": {"type": "object"},
    }
)


def bodies(kind: type[Settings]) -> dict[str, Any]:
    """The schemas of a body in each of its types."""
    return dict.fromkeys((JSON, FORM, MULTIPART), of_class(kind))


async def read(request: Request, kind: type[R]) -> R:
    """The fields of a request, whose key is checked first."""
    fields = await read_fields(request)
    key = fields.get("api_key")
    admit(request, key_of(request) or (str(key) if isinstance(key, str) and key else None))
    return make(kind, fields)


@router.post(
    **described(
        "/translate",
        "Translate a text or several.",
        tag=_TAG,
        answer=_TRANSLATED,
        body=bodies(LibreTranslateRequest),
        example={"q": "in 3 hours", "source": "en", "target": "de", "format": "text", "alternatives": 2},
        answer_example={"translatedText": "in 3 Stunden", "alternatives": ["in drei Stunden"]},
    )
)
async def translate_text(request: Request) -> Response:
    context = context_of(request)
    body = await read(request, LibreTranslateRequest)
    texts = listed(body.q)
    check_texts("q", texts, context.settings, most=context.settings.max_items)
    check_alternatives(body.alternatives, context.settings)
    html = body.format == "html"
    directions = [await context.direction(body.source, body.target, text=sample(text, html=html)) for text in texts]
    options = TranslateOptions(
        format=body.format,
        alternatives=body.alternatives,
        timeout_seconds=context.settings.request_timeout_seconds,
    )
    for text, direction in zip(texts, directions, strict=True):
        count_inputs(request, [text], model=direction.model)
    found = await while_connected(request, translate_each(context, texts, directions, options))
    for translation in found:
        count_answer(request, translation.text)
    return JsonResponse(_answer(body, found, directions))


def _answer(body: LibreTranslateRequest, found: list[Translation], directions: list[Direction]) -> dict[str, Any]:
    one = isinstance(body.q, str)
    texts = [translation.text for translation in found]
    answer: dict[str, Any] = {"translatedText": texts[0] if one else texts}
    if body.alternatives:
        others = [translation.alternatives for translation in found]
        answer["alternatives"] = others[0] if one else others
    known = [direction.detected for direction in directions if direction.detected is not None]
    if body.source.lower() == AUTO and len(known) == len(directions):
        detected = [{"confidence": round(share * 100), "language": code} for code, share in known]
        answer["detectedLanguage"] = detected[0] if one else detected
    return answer


@router.get(**described("/languages", "The languages and their targets.", tag=_TAG, answer=_LANGUAGES))
async def languages(request: Request) -> Response:
    await read(request, LibreLanguagesRequest)  # libretranslatepy sends a body with GET
    context = context_of(request)
    found = context.languages.listed(context.service.statuses())
    return JsonResponse([language_entry(code, targets) for code, targets in found.items()])


@router.post(
    **described(
        "/detect",
        "The languages that a text may be in, among those of the models.",
        tag=_TAG,
        answer=array(_DETECTED),
        body=bodies(DetectRequest),
        example={"q": "in 3 hours"},
    )
)
async def detect_language(request: Request) -> Response:
    context = context_of(request)
    body = await read(request, DetectRequest)
    check_texts("q", [body.q], context.settings)
    all_models = [own for _, own in context.languages.all(context.service.statuses())]
    codes = list(dict.fromkeys(code for own in all_models for code in (*own.sources, *own.targets)))
    found = await asyncio.to_thread(detect, body.q, codes, "q")
    return JsonResponse([{"confidence": round(share * 100, 1), "language": code} for code, share in found])


@router.get(**described("/frontend/settings", "What a page of LibreTranslate shows.", tag=_TAG, answer=_SETTINGS))
async def frontend_settings(request: Request) -> Response:
    context = context_of(request)
    codes = context.languages.listed(context.service.statuses())
    first = next(iter(codes), AUTO)
    target = next(iter(codes.get(first, [])), AUTO)
    entries = {
        name: {key: entry[key] for key in ("code", "name")}
        for name, entry in (("source", language_entry(first, [])), ("target", language_entry(target, [])))
    }
    return JsonResponse(
        {
            "apiKeys": context.settings.keys is not None,
            "keyRequired": context.keys.required,
            "charLimit": context.settings.max_characters,
            "frontendTimeout": 500,
            "suggestions": False,
            "filesTranslation": True,
            "supportedFilesFormat": list(FORMATS),
            "language": entries,
        }
    )
