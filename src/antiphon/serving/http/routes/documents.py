"""Our own route for documents: texts and HTML of any length, with their segments."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from antiphon.documents import Protection
from antiphon.serving.http.admission import with_key
from antiphon.serving.http.bodies import JSON, make, read_json
from antiphon.serving.http.calls import count_answer, count_inputs, while_connected
from antiphon.serving.http.context import context_of
from antiphon.serving.http.errors import JsonResponse, invalid
from antiphon.serving.http.openapi import NAMED, described
from antiphon.serving.http.requests import (
    TranslateRequest,
    check_alternatives,
    check_texts,
    read_glossary,
    read_search,
    split_search,
)
from antiphon.serving.http.schemas import ALIGNMENT, NUMBER, SPAN, STRING, array, nullable, obj, of_class
from antiphon.serving.http.translating import TranslateOptions, Translation, sample, translate

router = APIRouter(dependencies=[Depends(with_key)])
# A document has many segments: these belong to one answer, and are refused by name.
_OF_ONE_ANSWER = ("prefix", "allowed", "required", "n_best", "source_language", "target_language")
_SEGMENT = obj(
    {
        "source": STRING,
        "target": STRING,
        "confidence": nullable(NUMBER),
        "source_span": SPAN,
        "target_span": SPAN,
        "alignment": ALIGNMENT,
        "token_confidence": array(nullable(NUMBER)),
        "tokens": array(STRING),
    },
    optional=("alignment", "token_confidence", "tokens"),
)
_TRANSLATION = obj(
    {"text": STRING, "segments": array(_SEGMENT), "alternatives": array(STRING), "warnings": array(STRING)},
    optional=("alternatives", "warnings"),
)
_ANSWER = obj(
    {
        "translations": array(_TRANSLATION),
        "model": STRING,
        "source": nullable(STRING),
        "target": nullable(STRING),
    }
)
_GLOSSARY = {"anyOf": [{"type": "object", "additionalProperties": STRING}, {"type": "null"}]}


@router.post(
    **described(
        "/v1/translate",
        "Translate texts or HTML of any length.",
        tag="translation",
        answer=_ANSWER,
        body={JSON: of_class(TranslateRequest, search=True, extra={"glossary": _GLOSSARY}, without=_OF_ONE_ANSWER)},
        example={"text": "Meet me in 3 hours.", "source": "en", "target": "de", "glossary": {"hours": "Stunden"}},
        errors=NAMED,
    )
)
async def translate_document(request: Request) -> Response:
    context = context_of(request)
    fields, search = split_search(await read_json(request), TranslateRequest)
    for name in search:
        if name in _OF_ONE_ANSWER:
            raise invalid(name, "is a setting of one answer, and a document has several. Use /v1/generate.")
    body = make(TranslateRequest, fields)
    texts = [body.text] if body.text is not None else list(body.texts or ())
    check_texts("text" if body.text is not None else "texts", texts, context.settings, most=context.settings.max_items)
    check_alternatives(body.alternatives, context.settings)
    model = context.status_of(body.model).name if body.model is not None else None
    words = sample(" ".join(texts), html=body.format == "html")
    direction = await context.direction(body.source, body.target, text=words, model=model)
    options = TranslateOptions(
        format=body.format,
        protection=Protection(body.protect, read_glossary(body.glossary)),
        details=body.details,
        search=read_search(search, context.settings),
        alternatives=body.alternatives,
        timeout_seconds=context.settings.request_timeout_seconds,
    )
    count_inputs(request, texts, model=direction.model)
    found = await while_connected(request, translate(context, texts, direction, options))
    for translation in found:
        count_answer(request, translation.text)
    answer = {"model": direction.model, "source": direction.source, "target": direction.target}
    return JsonResponse({"translations": [_translation(each, body) for each in found], **answer})


def _translation(translation: Translation, body: TranslateRequest) -> dict[str, Any]:
    segments = []
    for segment, answered in zip(translation.joined.segments, translation.answers, strict=True):
        made: dict[str, Any] = {
            "source": segment.source,
            "target": segment.target,
            "confidence": segment.confidence,
            "source_span": list(segment.source_span),
            "target_span": list(segment.target_span),
        }
        # A segment that was put together from parts has another text than the model's answer.
        if answered.answer["text"] == segment.target:
            names = [*body.details, *(["tokens"] if "token_confidence" in body.details else [])]
            made |= {name: answered.answer[name] for name in names if name in answered.answer}
        segments.append(made)
    found: dict[str, Any] = {"text": translation.text, "segments": segments}
    if body.alternatives:
        found["alternatives"] = translation.alternatives
    if translation.warnings:
        found["warnings"] = translation.warnings
    return found
