"""What happens to each request before its route: a record, limits of headers and body, keys of headers, security."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.serving.http.context import RequestRecord, ServerContext
from antiphon.serving.http.errors import INTERNAL, ApiError, ClientGone, error_response, too_large
from antiphon.serving.http.logs import REQUESTS, log_failure

_REQUESTS = logging.getLogger(REQUESTS)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DISCARD_SECONDS, _DISCARD_BYTES = 5.0, 2**26
_CLOSED = 499  # the status in logs for a client that left
PAGE_NAME = "page "  # before the names of the routes of its files
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:",
        "font-src 'self'", "connect-src 'self'", "media-src 'self' blob:", "manifest-src 'self'", "worker-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
}
ALWAYS_OPEN = ("/health", "/metrics")  # answered while the server drains


class RequestLayer:
    """The outermost layer: gives each request an id and a record, bounds it, logs it, and answers what went wrong."""

    def __init__(self, app: ASGIApp, context: ServerContext) -> None:
        self._app, self._context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        record = RequestRecord(given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        scope.setdefault("state", {})["record"] = record
        exchange = _Exchange(self._context, scope, receive, send, record)
        activity, metrics = self._context.activity, self._context.metrics
        activity.running += 1
        metrics.running.inc()
        try:
            await exchange.run(self._app)
        finally:
            activity.running -= 1
            metrics.running.dec()
            self._finish(scope, record, exchange.status)

    def _finish(self, scope: Scope, record: RequestRecord, status: int) -> None:
        seconds = time.monotonic() - record.started
        route = _label(scope)
        metrics = self._context.metrics
        metrics.requests.labels(route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if self._context.settings.log_requests:
            _REQUESTS.info(_line(scope, record, status, route, seconds))


def _label(scope: Scope) -> str:
    """The name of a route in metrics and logs; one for all files of the page."""
    route = scope.get("route")
    if not isinstance(route, Route):
        return "unmatched"
    return "page" if route.name.startswith(PAGE_NAME) else route.path


def _line(scope: Scope, record: RequestRecord, status: int, route: str, seconds: float) -> str:
    """The log line of a request. It has no texts, and the route instead of the path, which may hold one."""
    facts: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "id": record.id,
        "method": scope["method"][:20],
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 1),
        "client": (scope.get("client") or ("",))[0],
        "key": record.key,
        "model": record.model,
        "items": record.items,
        "characters": record.characters,
        "answer_characters": record.answer_characters,
    }
    if record.texts or record.answers:
        facts |= {"texts": record.texts, "answers": record.answers}
    return json.dumps({name: value for name, value in facts.items() if value not in (None, "")})


class _Exchange:
    """One request and its response."""

    def __init__(
        self, context: ServerContext, scope: Scope, receive: Receive, send: Send, record: RequestRecord
    ) -> None:
        self._context, self._scope, self._record = context, scope, record
        self._receive, self._send = receive, send
        self.status = _CLOSED
        self._started = False
        self._body_read = False
        self._bytes = 0
        self._deadline = time.monotonic() + context.settings.body_timeout_seconds

    async def run(self, app: ASGIApp) -> None:
        """Run the app; whatever it raises becomes an error response."""
        try:
            self._check_head()
            await app(self._scope, self.receive, self.send)
        except (ClientGone, ClientDisconnect):  # Starlette's own is for a body that ended early
            self.status = _CLOSED
        except asyncio.CancelledError:
            raise
        except ApiError as error:
            await self._answer(error)
        except Exception:
            log_failure(f"request {self._record.id} failed")
            await self._answer(INTERNAL)

    def _check_head(self) -> None:
        limits, scope = self._context.settings, self._scope
        path = scope["path"]
        if self._context.activity.draining and path not in ALWAYS_OPEN:
            raise ApiError(
                503,
                "unavailable",
                "the server is shutting down.",
                headers={"Connection": "close"},
                retry_after_seconds=5,
            )
        target = len(scope.get("raw_path", b"")) + (len(scope["query_string"]) + 1 if scope["query_string"] else 0)
        size = len(scope["method"]) + target + len("  HTTP/1.1\r\n\r\n")
        size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > limits.max_header_bytes:
            raise too_large("headers", "bytes with the request line", size, limits.max_header_bytes, status=431)
        length = Headers(scope=scope).get("content-length", "")
        if length.isdigit() and len(length) < 20 and int(length) > limits.max_body_bytes:
            raise self._too_long(int(length))

    def _too_long(self, size: int) -> ApiError:
        return too_large("body", "bytes", size, self._context.settings.max_body_bytes)

    async def receive(self) -> Message:
        """The next part of the body, in time and within the limit."""
        if self._body_read:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            seconds = self._context.settings.body_timeout_seconds
            problem = f"must arrive within {seconds:g} seconds."
            raise ApiError(408, "timeout", f"`body` {problem}", field="body", headers={"Connection": "close"}) from None
        if message["type"] == "http.disconnect":
            self._body_read = True
            return message
        self._bytes += len(message.get("body", b""))
        self._body_read = not message.get("more_body", False)
        if self._bytes > self._context.settings.max_body_bytes:
            raise self._too_long(self._bytes)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response; its head with the id and the security headers."""
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in {**SECURITY, "X-Request-ID": self._record.id}.items():
                headers.setdefault(name, value)
            if not self._body_read and self._has_body():
                await self._discard()
                if not self._body_read:
                    headers["Connection"] = "close"
        await self._send(message)

    def _has_body(self) -> bool:
        headers = Headers(scope=self._scope)
        return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

    async def _discard(self) -> None:
        """Read the rest of the body for a short time.

        A connection that is closed with unread data is reset, and the client may lose the response. One that waits for
        `100 Continue` has sent nothing.
        """
        if "expect" in Headers(scope=self._scope):
            return
        end = min(self._deadline, time.monotonic() + _DISCARD_SECONDS)
        most = self._bytes + _DISCARD_BYTES
        try:
            while not self._body_read and self._bytes < most:
                message = await asyncio.wait_for(self._receive(), max(0.0, end - time.monotonic()))
                self._bytes += len(message.get("body", b""))
                self._body_read = not message.get("more_body", False)
        except TimeoutError:
            pass

    async def _answer(self, error: ApiError) -> None:
        # After the start of a response the connection is closed, so that the client sees that it is incomplete.
        if not self._started:
            await error_response(error, self._scope["path"])(self._scope, self.receive, self.send)
