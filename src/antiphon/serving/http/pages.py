"""The files of the page, each with a route of its own, so that the list of routes that need no key is known."""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from antiphon.serving.http.middleware import PAGE_NAME, PAGE_POLICY

PAGE = Path(__file__).parents[1] / "page"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_TYPES |= {".webmanifest": "application/manifest+json", ".woff2": "font/woff2", ".json": "application/json"}
_HEADERS = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}


def page_routes(folder: Path = PAGE) -> APIRouter:
    """GET and HEAD routes of all files of `folder`; its index.html is at `/`.

    Files are revalidated by their ETag: a new version of the package is seen at once, an unchanged file is not sent
    again.
    """
    router = APIRouter(include_in_schema=False)
    if not folder.is_dir():
        return router
    for suffix, kind in _TYPES.items():  # a machine's own table may say otherwise
        mimetypes.add_type(kind, suffix)
    files = StaticFiles(directory=folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith((".", "_")) for part in name.split("/")):
            address = "/" if name == "index.html" else f"/{name}"
            router.add_api_route(address, _file(files, name), methods=["GET", "HEAD"], name=PAGE_NAME + name)
    return router


def _file(files: StaticFiles, name: str) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        response = await files.get_response(name, request.scope)
        response.headers.update(_HEADERS)
        return response

    return send
