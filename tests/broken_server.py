"""An HTTP server of files in memory that breaks connections, forgets its manners, or asks for a password."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class BrokenServer(ThreadingHTTPServer):
    """Serves `files` (name -> bytes). `breaks` responses are cut after `after` bytes; `status` is sent `refusals`
    times; without `ranges` whole files alone are sent; `password` is asked for if set. `requests` are those with a
    body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.breaks = self.refusals = 0
        self.after, self.status, self.ranges, self.sized, self.password = 1000, 503, True, True, ""

    def handle_error(self, request: Any, client_address: Any) -> None: ...

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body is a packet of its own, which would wait 40 ms for the reader's answer

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        server: BrokenServer = self.server
        name = self.path.split("?")[0].lstrip("/")
        known = f"Basic {base64.b64encode(f'user:{server.password}'.encode()).decode()}"
        if server.password and self.headers.get("Authorization") != known:
            self._short(401)
            return
        if name not in server.files:
            self._short(404)
            return
        if body and server.refusals > 0:
            server.refusals -= 1
            self._short(server.status)
            return
        content, wanted = server.files[name], self.headers.get("Range", "")
        whole, found = len(content), re.match(r"bytes=(\d+)-(\d*)", wanted)
        if body:
            server.requests.append((name, wanted))
        if found and server.ranges:
            first, last = int(found[1]), min(int(found[2] or whole), whole - 1)
            content = content[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{whole}")
        else:
            self.send_response(200)
        self.send_header("ETag", f'"{hash(server.files[name]):x}"')
        if server.sized:
            self.send_header("Content-Length", str(len(content)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if not body:
            return
        if server.breaks > 0 and len(content) > server.after:
            server.breaks -= 1
            self.wfile.write(content[: server.after])
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True
            return
        self.wfile.write(content)

    def _short(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving() -> Iterator[BrokenServer]:
    server = BrokenServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
