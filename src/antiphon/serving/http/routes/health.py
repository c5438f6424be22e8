"""Whether the server runs, whether it can answer, its metrics, and the description of its API."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from antiphon.serving.http.admission import with_key
from antiphon.serving.http.context import context_of
from antiphon.serving.http.errors import JsonResponse
from antiphon.serving.http.metrics import CONTENT_TYPE
from antiphon.serving.http.openapi import described
from antiphon.serving.http.schemas import BOOLEAN, STRING, obj

router = APIRouter()
_TAG = "server"
_READY = obj({"ready": BOOLEAN, "models": {"type": "object", "additionalProperties": STRING}})


@router.get(**described("/health", "Whether the server runs.", tag=_TAG, answer=obj({"status": STRING})))
async def health() -> Response:
    return JsonResponse({"status": "ok"})


@router.get(**described("/ready", "Whether every model that is to be loaded can answer.", tag=_TAG, answer=_READY))
async def ready(request: Request) -> Response:
    states = {status.name: status.state for status in context_of(request).service.statuses()}
    # An unloaded model is loaded by a request of an administrator, so it is not waited for.
    waited = [state for state in states.values() if state != "unloaded"]
    fine = all(state == "ready" for state in waited)
    body = {"ready": fine, "models": states}
    if fine:
        return JsonResponse(body)
    error = {"code": "unavailable", "field": None, "message": "a model is not ready."}
    return JsonResponse({**body, "error": error}, status=503, headers={"Retry-After": "2"})


@router.get(
    **described("/metrics", "Metrics for Prometheus.", tag=_TAG, contents={"text/plain": STRING}),
    dependencies=[Depends(with_key)],
)
async def metrics(request: Request) -> Response:
    context = context_of(request)
    context.metrics.draining.set(float(context.activity.draining))
    return Response(context.metrics.text(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    return JsonResponse(request.app.openapi())
