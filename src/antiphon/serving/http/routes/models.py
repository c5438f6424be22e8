"""The served models: what they are, and loading and unloading them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from antiphon.serving.http.admission import with_admin_key, with_key
from antiphon.serving.http.context import ServerContext, context_of
from antiphon.serving.http.errors import JsonResponse
from antiphon.serving.http.openapi import NAMED, described
from antiphon.serving.http.schemas import MODEL, array, obj
from antiphon.serving.service import ModelStatus

router = APIRouter()
_TAG = "models"
_OPEN, _ADMIN = [Depends(with_key)], [Depends(with_admin_key)]


@router.get(
    **described(
        "/v1/models", "The served models; the default one is first.", tag=_TAG, answer=obj({"models": array(MODEL)})
    ),
    dependencies=_OPEN,
)
async def models(request: Request) -> Response:
    context = context_of(request)
    return JsonResponse({"models": [_model(context, status) for status in context.service.statuses()]})


@router.get(
    **described("/v1/models/{name}", "A model, with its card.", tag=_TAG, answer=MODEL, errors=NAMED),
    dependencies=_OPEN,
)
async def model(request: Request, name: str) -> Response:
    context = context_of(request)
    return JsonResponse(_model(context, context.status_of(name), card=True))


@router.post(
    **described("/v1/models/{name}/load", "Load a model.", tag=_TAG, answer=MODEL, errors=NAMED), dependencies=_ADMIN
)
async def load(request: Request, name: str) -> Response:
    context = context_of(request)
    await context.service.load(context.status_of(name).name)
    return JsonResponse(_model(context, context.status_of(name), card=True))


@router.post(
    **described("/v1/models/{name}/unload", "Unload a model after its calls.", tag=_TAG, answer=MODEL, errors=NAMED),
    dependencies=_ADMIN,
)
async def unload(request: Request, name: str) -> Response:
    context = context_of(request)
    await context.service.unload(context.status_of(name).name)
    return JsonResponse(_model(context, context.status_of(name), card=True))


def _model(context: ServerContext, status: ModelStatus, *, card: bool = False) -> dict[str, Any]:
    info = status.info
    is_default = context.service.statuses()[0].name == status.name
    languages = context.languages.of(status, is_default=is_default)
    own = context.settings
    limits = {"max_items": own.max_items, "max_characters": own.max_characters, "max_beam_size": own.max_beam_size}
    limits |= {} if info is None else dict(info.limits)
    limits["max_new_tokens"] = min(own.max_new_tokens, limits.get("max_new_tokens") or own.max_new_tokens)
    return {
        "name": status.name,
        "state": status.state,
        "default": is_default,
        "task": None if info is None else info.task,
        "input": None if info is None else info.input,
        "images": info is not None and info.images,
        "labels": [] if info is None else list(info.labels),
        "source_languages": list(languages.sources),
        "target_languages": list(languages.targets),
        "limits": limits,
        "generation": {} if info is None else dict(info.generation),
        "error": status.error,
        **({"card": {} if info is None else dict(info.card)} if card else {}),
    }
