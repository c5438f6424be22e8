"""Errors of requests, and their JSON in the form that each API's clients read.

own routes       {"error": {"code", "field", "message"}}
LibreTranslate   {"error": message}
DeepL            {"message": message}
OpenAI           {"error": {"message", "type", "param", "code"}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from starlette.responses import Response

from antiphon.errors import UsageError
from antiphon.serving.service import ServiceError
from antiphon.settings import SettingError

Style = Literal["own", "libretranslate", "deepl", "openai"]
LIBRETRANSLATE = ("/translate", "/translate_file", "/download_file", "/languages", "/detect", "/frontend/settings")
# What the clients of an API expect where HTTP has a finer status.
STATUS: Mapping[Style, Mapping[int, int]] = {
    "own": {},
    "libretranslate": {401: 403},
    "deepl": {401: 403, 422: 400},
    "openai": {422: 400},
}


_MOST_MESSAGE = 2000  # characters; a message quotes names that a client sent


class ApiError(Exception):
    """A request that is refused. `code` is for programs, `field` the field of the request that is wrong."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_seconds)))


INTERNAL = ApiError(500, "internal", "a fault of the server; its log has the details.")


class ClientGone(Exception):
    """The client closed its connection before the answer; nobody reads a response."""


def invalid(field: str | None, problem: str, *, status: int = 422, code: str = "invalid") -> ApiError:
    """The error for a field: "`beam_size` must be at most 16, but is 17."."""
    subject = f"`{field}` " if field else ""
    return ApiError(status, code, f"{subject}{problem}", field=field)


def too_large(field: str, what: str, value: int, limit: int, *, status: int = 413) -> ApiError:
    """The error for a field above a limit of the server; it names both numbers."""
    return invalid(field, f"must have at most {limit} {what}, but has {value}.", status=status, code="too_large")


def from_service(error: ServiceError) -> ApiError:
    """The error of a call as one of its request."""
    waits = error.retry_after_seconds
    if error.status in (429, 503) and waits is None:
        waits = 1.0
    return ApiError(error.status, error.code, error.message, field=error.field, retry_after_seconds=waits)


def from_setting(error: UsageError) -> ApiError:
    """The error of a setting or a body as one of its request."""
    field = ".".join(error.path) if isinstance(error, SettingError) else None
    code = "unknown_field" if isinstance(error, SettingError) and error.problem.startswith("is not a known") else None
    message = str(error).replace("is not a known setting", "is not a known field", 1)
    return ApiError(422, code or "invalid", message[:_MOST_MESSAGE], field=field[:100] if field else None)


def style_of(path: str) -> Style:
    """The form of the errors of a route."""
    if path.startswith("/v2/"):
        return "deepl"
    if path.startswith("/v1/audio/"):
        return "openai"
    first = path.rstrip("/")
    is_libre = first in LIBRETRANSLATE or first.startswith("/download_file/")
    return "libretranslate" if is_libre else "own"


def error_body(error: ApiError, style: Style) -> dict[str, Any]:
    """The JSON object of an error."""
    if style == "libretranslate":
        return {"error": error.message}
    if style == "deepl":
        return {"message": error.message}
    if style == "openai":
        kind = "server_error" if error.status >= 500 else "invalid_request_error"
        return {"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code}}
    return {"error": {"code": error.code, "field": error.field, "message": error.message}}


def error_response(error: ApiError, path: str) -> Response:
    """The response for an error on the route `path`."""
    style = style_of(path)
    status = STATUS[style].get(error.status, error.status)
    return JsonResponse(error_body(error, style), status=status, headers=error.headers)


class JsonResponse(Response):
    """A JSON response: UTF-8 unescaped, non-finite numbers as null, lone surrogates as U+FFFD."""

    media_type = "application/json"

    def __init__(self, content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(to_json(content), status_code=status, headers=dict(headers or {}))


def to_json(content: Any) -> bytes:
    """`content` as JSON on one line."""
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content
