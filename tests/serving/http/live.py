"""A running server for tests: `with running(FakeService()) as server: server.client.get("/health")`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import uvicorn

from antiphon.serving.http.app import create_app
from antiphon.serving.http.context import ServerContext
from antiphon.serving.http.server import bind, make_server
from antiphon.serving.service import ModelService
from antiphon.serving.settings import ServerSettings


@dataclass
class LiveServer:
    """A server in a thread."""

    url: str
    host: str
    port: int
    server: uvicorn.Server
    app: Any
    client: httpx2.Client

    @property
    def context(self) -> ServerContext:
        """What its routes share."""
        return self.app.state.context

    def post(self, path: str, **body: Any) -> httpx2.Response:
        """The response to a JSON body."""
        return self.client.post(path, json=body)


@contextmanager
def running(service: ModelService, **settings: Any) -> Iterator[LiveServer]:
    """A server on a free port of 127.0.0.1, ended at the end."""
    made = ServerSettings(**{"port": 0, "log_requests": False, **settings})
    sock = bind(made)
    app = create_app(service, made)
    server = make_server(app, started=lambda: None)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started, "the server did not start"
    host, port = sock.getsockname()[:2]
    url = f"http://{host}:{port}"
    try:
        with httpx2.Client(base_url=url, timeout=30) as client:
            yield LiveServer(url, host, port, server, app, client)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not end"


def until(condition: Callable[[], bool], seconds: float = 10) -> float:
    """Wait for a condition; the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it does not come about"
        time.sleep(0.005)
    return time.monotonic() - begun
