"""Our own routes for any task: answers, scores and attention maps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from antiphon.serving.http.admission import with_key
from antiphon.serving.http.bodies import JSON, make, read_json
from antiphon.serving.http.calls import answers, count_inputs, count_items, stream, while_connected
from antiphon.serving.http.context import context_of
from antiphon.serving.http.errors import JsonResponse, invalid
from antiphon.serving.http.openapi import NAMED, described
from antiphon.serving.http.requests import (
    AttentionRequest,
    GenerateRequest,
    ScoreRequest,
    check_count,
    check_texts,
    listed,
    media_of,
    read_generate,
    source_limits,
)
from antiphon.serving.http.schemas import (
    ANSWER,
    BOOLEAN,
    EVENT,
    EVENTS,
    NUMBER,
    STRING,
    array,
    nullable,
    obj,
    of_class,
    of_hint,
)
from antiphon.serving.service import Answered, Event, GenerateCall, TextPiece
from antiphon.settings import hints

router = APIRouter(dependencies=[Depends(with_key)])
_TAG = "models"
_MAPS = nullable(array(array(nullable(array(array(nullable(NUMBER)))))))  # a head without weights is null
_ATTENTION = obj(
    {
        "source_tokens": array(STRING),
        "target_tokens": array(STRING),
        "source_special": array(BOOLEAN),
        "target_special": array(BOOLEAN),
        "start": STRING,
        "cross": _MAPS,
        "encoder": _MAPS,
        "decoder": _MAPS,
    },
    optional=("source_special", "target_special", "start"),
)

_INPUTS = of_hint(hints(GenerateRequest)["inputs"]) | {
    "examples": [["in 3 hours"], ["data:image/png;base64,iVBORw0KGgo..."], ["data:audio/wav;base64,UklGRg..."]]
}


@router.post(
    **described(
        "/v1/generate",
        "Answer inputs, with every setting of the search.",
        tag=_TAG,
        answer=obj({"answers": array(ANSWER), "model": STRING}),
        contents={EVENTS: EVENT},
        body={JSON: of_class(GenerateRequest, search=True, extra={"inputs": _INPUTS})},
        example={"inputs": ["in 3 hours"], "beam_size": 4, "details": ["alignment"]},
        errors=NAMED,
    )
)
async def generate(request: Request) -> Response:
    context = context_of(request)
    body, inputs, search = read_generate(await read_json(request), context.settings)
    name = context.status_of(body.model).name
    call = GenerateCall(
        inputs=_given(request, inputs, "inputs", model=name, beside=[]),
        settings=search,
        model=name,
        stream=body.stream,
        details=body.details,
        timeout_seconds=context.settings.request_timeout_seconds,
        first_row=body.first_row,
    )
    if body.stream:
        return await stream(request, call, _encode)
    found = await answers(request, call)
    return JsonResponse({"answers": [answer_json(each) for each in found], "model": name})


def _encode(event: Event) -> dict[str, Any]:
    if isinstance(event, TextPiece):
        return {"index": event.index, "text": event.text}
    return {"index": event.index, "answer": answer_json(event)}


def answer_json(answered: Answered) -> dict[str, Any]:
    """An answer as `antiphon generate --json` writes it, with its warnings."""
    warnings = {"warnings": list(answered.warnings)} if answered.warnings else {}
    return {**answered.answer, **warnings}


def _given(request: Request, texts: list[str], field: str, *, model: str, beside: list[str]) -> Sequence[str | bytes]:
    """The inputs in the field of a request, as the model takes them; they, and the texts `beside` them, are counted."""
    context = context_of(request)
    kind = context.input_of(model, texts)
    if kind != "text":
        count_inputs(request, beside, model=model) if beside else count_items(request, len(texts), model=model)
        return media_of(kind, texts, field)
    are_images = [context.takes_images(model) and text.startswith("data:image/") for text in texts]
    plain = [text for text, is_image in zip(texts, are_images, strict=True) if not is_image]
    check_texts(field, plain, context.settings)
    count_inputs(request, plain + beside, model=model)
    if len(plain) == len(texts):
        return texts
    count_items(request, len(texts) - len(plain), model=model)
    return [
        media_of("image", [text], field)[0] if is_image else text
        for text, is_image in zip(texts, are_images, strict=True)
    ]


def _prompts(request: Request, prompt: str | Sequence[str | None] | None, *, count: int) -> list[str]:
    """The texts of a prompt, or of one for each of `count` sources. ApiError for another number, and long ones."""
    texts = [prompt] if isinstance(prompt, str) else list(prompt or ())
    if not isinstance(prompt, str | None) and len(texts) != count:
        raise invalid("prompt", f"must be one text, or one for each of {count} sources, but has {len(texts)}.")
    found = [text for text in texts if text is not None]
    check_texts("prompt", found, context_of(request).settings)
    return found


@router.post(
    **described(
        "/v1/score",
        "The log-probability of each target given its source, in nats.",
        tag=_TAG,
        answer=obj({"scores": array(nullable(NUMBER))}),
        body={JSON: of_class(ScoreRequest)},
        example={"sources": ["in 3 hours"], "targets": ["in 3 Stunden"]},
        errors=NAMED,
    )
)
async def score(request: Request) -> Response:
    context = context_of(request)
    body = make(ScoreRequest, await read_json(request))
    sources, targets = listed(body.sources), listed(body.targets)
    check_count("sources", len(sources), context.settings)
    check_texts("targets", targets, context.settings, most=context.settings.max_items)
    if len(sources) != len(targets):
        raise invalid("targets", f"must have one text for each of {len(sources)} sources, but has {len(targets)}.")
    name = context.status_of(body.model).name
    beside = targets + _prompts(request, body.prompt, count=len(sources))
    inputs = _given(request, sources, "sources", model=name, beside=beside)
    if not sources:
        return JsonResponse({"scores": []})
    work = context.service.score(inputs, targets, model=name, settings=source_limits(body))
    scores = await while_connected(request, work)
    return JsonResponse({"scores": scores})


@router.post(
    **described(
        "/v1/attention",
        "The attention weights of a source and its target.",
        tag=_TAG,
        answer=_ATTENTION,
        body={JSON: of_class(AttentionRequest)},
        example={"source": "in 3 hours", "target": "in 3 Stunden"},
        errors=NAMED,
    )
)
async def attention(request: Request) -> Response:
    context = context_of(request)
    body = make(AttentionRequest, await read_json(request))
    targets = [] if body.target is None else [body.target]
    check_texts("target", targets, context.settings)
    targets += _prompts(request, body.prompt, count=1)
    name = context.status_of(body.model).name
    (source,) = _given(request, [body.source], "source", model=name, beside=targets)
    work = context.service.attention(source, body.target, model=name, settings=source_limits(body))
    maps = await while_connected(request, work)
    return await asyncio.to_thread(JsonResponse, maps)  # may be large
