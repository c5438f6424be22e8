"""Who may use a route: the key of a request, in its headers or its fields, against the rules of the key file."""

from __future__ import annotations

from starlette.requests import Request

from antiphon.serving.http.context import context_of, record_of


async def with_key(request: Request) -> None:
    """A dependency of routes whose key is in a header."""
    admit(request, key_of(request))


async def with_admin_key(request: Request) -> None:
    """A dependency of routes for administrators."""
    admit(request, key_of(request), admin=True)


def admit(request: Request, key: str | None, *, admin: bool = False) -> None:
    """Admit a request with the key `key`, which may be None. ApiError 401, 403 or 429."""
    address = request.client.host if request.client is not None else ""
    record_of(request).key = context_of(request).keys.enter(key, address=address, admin=admin)


def key_of(request: Request) -> str | None:
    """The key in the headers of a request: `Authorization: Bearer KEY` or `DeepL-Auth-Key KEY`, or `X-API-Key`."""
    scheme, _, value = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() in ("bearer", "deepl-auth-key") and value.strip():
        return value.strip()
    return request.headers.get("x-api-key") or None
