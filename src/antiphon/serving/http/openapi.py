"""How a route is described in /openapi.json: its body, its responses, and every error that it may have."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from antiphon.serving.http.errors import STATUS, style_of
from antiphon.serving.http.schemas import ERRORS, Schema

# Statuses that the layers below the routes may answer with, and what they mean.
EVERYWHERE = {
    400: "The request is not well-formed.",
    401: "A key is needed, or is not known.",
    403: "The key may not do this.",
    408: "The body took too long.",
    413: "The body, a text or the number of texts is above a limit of the server.",
    422: "A field is wrong.",
    429: "Too many requests; Retry-After says when to try again.",
    431: "The headers are above a limit of the server.",
    500: "A fault of the server.",
    503: "The model is not ready, or the server is shutting down; Retry-After says when to try again.",
    504: "The answer was not ready in time.",
}
WITH_BODY = {415: "The type of the body is not one that the route reads."}
NAMED = {404: "There is nothing of that name."}
RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def described(
    path: str,
    summary: str,
    *,
    tag: str,
    answer: Schema | None = None,
    contents: dict[str, Schema] | None = None,
    body: dict[str, Schema] | None = None,
    example: Any = None,
    answer_example: Any = None,
    query: dict[str, Schema] | None = None,
    status: int = 200,
    errors: dict[int, str] | None = None,
) -> dict[str, Any]:
    """Arguments of FastAPI's route decorators.

    `answer` is the schema of the JSON answer, `contents` those of other types. `body` has the schema of the request for
    each content type. `query` are parameters, none of which is required.
    """
    found: dict[str, Any] = {kind: {"schema": schema} for kind, schema in (contents or {}).items()}
    if answer is not None:
        found["application/json"] = {"schema": answer, **_with_example(answer_example)}
    style = style_of(path)
    statuses = EVERYWHERE | (WITH_BODY if body is not None else {}) | (errors or {})
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/Error_{style}"}}}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": "The answer.", **({"content": found} if found else {})}
    }
    for code, words in statuses.items():
        headers = {"headers": RETRY} if code in (429, 503) else {}
        responses[STATUS[style].get(code, code)] = {"description": words, "content": content, **headers}
    extra: dict[str, Any] = {}
    if body is not None:
        kinds = {kind: {"schema": schema, **_with_example(example)} for kind, schema in body.items()}
        extra["requestBody"] = {"required": True, "content": kinds}
    if query is not None:
        extra["parameters"] = [
            {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in query.items()
        ]
    return {
        "path": path,
        "summary": summary,
        "tags": [tag],
        "status_code": status,
        "response_class": Response,
        "responses": responses,
        "openapi_extra": extra,
    }


def _with_example(example: Any) -> dict[str, Any]:
    return {} if example is None else {"example": example}


def components() -> dict[str, Any]:
    """The schemas of errors, and the ways to give a key."""
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    return {"schemas": {f"Error_{style}": schema for style, schema in ERRORS.items()}, "securitySchemes": schemes}
