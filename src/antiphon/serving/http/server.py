"""The server: uvicorn with time-outs for slow sockets, errors as JSON, and a drain before the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from antiphon.errors import UsageError
from antiphon.serving.http.context import ServerContext
from antiphon.serving.http.errors import ApiError, error_body, to_json
from antiphon.serving.settings import ServerSettings

_HEAD_ROOM = 4096  # of h11's buffer above the limit of headers, which the application checks exactly
_BACKLOG = 2048
_LINGER_SECONDS = 1.0


def bind(settings: ServerSettings) -> socket.socket:
    """The listening socket. UsageError for a port that is in use or an address that the machine does not have."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it a response waits 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((settings.host, settings.port))
        made.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        made.close()
        where = f"{settings.host}:{settings.port}"
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {settings.port} of {settings.host} is in use. Give --port another one, or 0 for any free one."
            ) from None
        if isinstance(error, OSError) and error.errno == errno.EACCES:
            raise UsageError(f"{where} may not be opened: ports below 1024 need rights. Give --port 8000.") from None
        why = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise UsageError(f"{where} cannot be listened on ({why}). Give --host 127.0.0.1, or 0.0.0.0.") from None
    return made


def make_server(
    app: FastAPI, *, started: Callable[[], None], tick: Callable[[], None] = lambda: None
) -> DrainingServer:
    """The server of `app`; `started` is called when it accepts connections, and `tick` ten times a second. What `tick`
    raises ends the server, and is raised by `run`."""
    context: ServerContext = app.state.context
    settings = context.settings
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxy),
        forwarded_allow_ips=list(settings.trusted_proxy),
        timeout_keep_alive=max(1, round(settings.keep_alive_seconds)),
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=settings.max_header_bytes + _HEAD_ROOM,
        backlog=_BACKLOG,
    )
    # The messages of libraries about requests and connections would be lines for anyone who sends them, and have paths.
    logging.getLogger("uvicorn.access").propagate = False
    for name in ("uvicorn.error", "asyncio", "python_multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return DrainingServer(config, context, started, tick)


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which drains before it closes its socket.

    After SIGTERM or Ctrl-C new requests get 503 while running ones are answered, for at most `drain_seconds`. A second
    signal ends it at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        context: ServerContext,
        started: Callable[[], None],
        tick: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._context, self._announce, self._tick = context, started, tick
        self._error: UsageError | None = None
        self._signal: int | None = None
        self._deadline = 0.0
        self._announced = False
        self._failed = False

    @property
    def exit_code(self) -> int:
        """0 after SIGTERM, 130 after Ctrl-C, 1 if requests were cut off."""
        if self._failed or not self.started:
            return 1
        return 130 if self._signal == signal.SIGINT else 0

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal. Raises what `tick` has raised."""
        super().run(sockets)
        if self._error is not None:
            raise self._error

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            self.should_exit = self.force_exit = True
            return
        self._signal = sig
        self._deadline = time.monotonic() + self._context.settings.drain_seconds
        self._context.activity.draining = True

    async def on_tick(self, counter: int) -> bool:
        if not self._announced:
            self._announced = True
            self._announce()
        try:
            self._tick()
        except UsageError as error:
            self._error = error
            return True
        if await super().on_tick(counter):
            return True
        if self._signal is None:
            return False
        if self._context.activity.busy and time.monotonic() < self._deadline:
            return False
        self._failed = self._context.activity.busy
        await self._context.service.drain(max(0.1, self._deadline - time.monotonic()))
        return True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again at the end, which would be the exit code.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


class _Protocol(H11Protocol):
    """uvicorn's protocol, which also closes connections that send headers or take responses slowly.

    What is not HTTP is answered in JSON. The body's time-out is in `middleware.py`.
    """

    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _refused = False

    @property
    def _settings(self) -> ServerSettings:
        app: Any = self.config.app
        return app.state.context.settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)
            self._watch_headers()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_headers()

    def _watch_headers(self) -> None:
        """Start the timer where headers are awaited: on a new connection, and after the first byte of a request."""
        if self.conn.their_state is not h11.IDLE:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None
            return
        begun = self.cycle is None or bool(self.conn.trailing_data[0])
        if begun and self._header_timer is None:
            self._header_timer = self.loop.call_later(self._settings.header_timeout_seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._header_timer = None
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            return
        if self.conn.trailing_data[0]:
            seconds = self._settings.header_timeout_seconds
            self._refuse(
                ApiError(408, "timeout", f"the headers must arrive within {seconds:g} seconds.", field="headers")
            )
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._settings.body_timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def send_400_response(self, msg: str) -> None:
        too_long = (
            self.conn.their_state is h11.ERROR and len(self.conn.trailing_data[0]) > self._settings.max_header_bytes
        )
        if too_long:
            size, limit = len(self.conn.trailing_data[0]), self._settings.max_header_bytes
            problem = f"`headers` must have at most {limit} bytes with the request line, but has {size} or more."
            self._refuse(ApiError(431, "too_large", problem, field="headers"))
        else:
            self._refuse(ApiError(400, "invalid_http", "the request must be HTTP/1.1, but is not."))

    def _refuse(self, error: ApiError) -> None:
        """Answer what is no request with an error, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = to_json(error_body(error, "own"))
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ]
            with contextlib.suppress(h11.LocalProtocolError):
                for event in (
                    h11.Response(status_code=error.status, headers=headers),
                    h11.Data(data=body),
                    h11.EndOfMessage(),
                ):
                    self.transport.write(self.conn.send(event) or b"")
            # What still comes is read for a moment: a connection that is closed with unread data is reset, and the
            # client may lose the response.
            if self.transport.can_write_eof() and not self.transport.is_closing():
                self.transport.write_eof()
                self._refused = True
                self.loop.call_later(_LINGER_SECONDS, self.transport.abort)
                return
        self.transport.close()
