"""The application: all routes over a service of models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from antiphon.errors import UsageError
from antiphon.serving.http.context import Activity, ServerContext
from antiphon.serving.http.errors import ApiError, error_response, from_service, from_setting
from antiphon.serving.http.files import FileStore
from antiphon.serving.http.keys import KeyRules
from antiphon.serving.http.languages import Languages
from antiphon.serving.http.metrics import Metrics
from antiphon.serving.http.middleware import RequestLayer
from antiphon.serving.http.openapi import components
from antiphon.serving.http.pages import page_routes
from antiphon.serving.http.routes import ROUTERS
from antiphon.serving.service import ModelService, ServiceError
from antiphon.serving.settings import ServerSettings

_CODES = {404: "not_found", 405: "method_not_allowed"}


def create_app(service: ModelService, settings: ServerSettings) -> FastAPI:
    """The application over `service`, whose start and end are those of the application. ConfigError for wrong keys."""
    context = ServerContext(
        service=service,
        settings=settings,
        keys=KeyRules(settings.keys, open_admin=settings.open_admin),
        languages=Languages(settings.language_pairs()),
        metrics=Metrics(service),
        activity=Activity(),
        files=FileStore(settings.file_seconds),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await context.activity.end_jobs()
            await service.stop()

    # FastAPI's own pages of the documentation load scripts from another host.
    app = FastAPI(title="Antiphon", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False
    app.state.context = context
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(page_routes())
    _add_handlers(app)
    if settings.cors_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origin),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    app.add_middleware(RequestLayer, context=context)
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]
    return app


def _schema(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(title="Antiphon", version=_version(), routes=app.routes, description=_DESCRIPTION)
        made["components"] = components()
        made["security"] = [{}, {"bearer": []}, {"header": []}]
        app.openapi_schema = made
    return app.openapi_schema


def _version() -> str:
    try:
        return version("antiphon")
    except PackageNotFoundError:  # run from the source tree
        return "0"


def _add_handlers(app: FastAPI) -> None:
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error_response(error, request.url.path)

    async def unanswered(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        return error_response(from_service(error), request.url.path)

    async def wrong(request: Request, error: Exception) -> Response:
        assert isinstance(error, UsageError)
        return error_response(from_setting(error), request.url.path)

    async def unrouted(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = {404: "there is nothing at this address.", 405: "this address has other methods."}
        message = words.get(error.status_code, str(error.detail))
        code = _CODES.get(error.status_code, "invalid")
        return error_response(ApiError(error.status_code, code, message, headers=error.headers), request.url.path)

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(ServiceError, unanswered)
    app.add_exception_handler(UsageError, wrong)
    app.add_exception_handler(HTTPException, unrouted)


_DESCRIPTION = """Answers of encoder-decoder models: translation and other tasks.

Routes of LibreTranslate (`/translate`), DeepL (`/v2/translate`) and OpenAI (`/v1/audio/transcriptions`) take what their
clients send. `/v1/generate` has every setting of the search.
"""
