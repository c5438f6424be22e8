"""The HTTP server of the page, on the loopback address alone: static files and three kinds of data, read only.

/api/runs                                            JSON: the list of runs
/api/figures?run=NAME&name=loss&start=0&generation=0     columns: length of the head (uint32), head (JSON), then numbers
/api/samples?run=NAME&start=0&generation=0               JSON: sample answers
/api/settings                                        JSON: the settings of each run
"""

from __future__ import annotations

import errno
import json
import struct
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from antiphon.errors import ConfigError, argument
from antiphon.watching.files import page_files
from antiphon.watching.runs import WatchedRuns

HOST, PORT, PORTS_TRIED = "127.0.0.1", 6007, 20
SECONDS_WITHOUT_REQUEST = 60  # after which a connection is closed
NOTEBOOKS = "http://localhost:* http://127.0.0.1:* https://*.googleusercontent.com vscode-webview:"
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
)
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class WatchServer(ThreadingHTTPServer):
    """Serves the page of `runs`. `embedded`: notebooks on this machine may show it in a frame."""

    daemon_threads = True

    def __init__(self, runs: WatchedRuns, port: int, *, embedded: bool = False) -> None:
        self.runs, self.stopped = runs, False
        self.headers = {
            **SECURITY, "Content-Security-Policy": _POLICY.format(ancestors=NOTEBOOKS if embedded else "'none'")
        }  # fmt: skip
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def start(self) -> None:
        """Read and answer in threads, until `stop`."""
        self.runs.start()
        threading.Thread(target=self.serve_forever, name="antiphon-watch-http", daemon=True).start()

    def stop(self) -> None:
        """End both threads and free the port. Connections that a browser keeps open get no further answer."""
        self.stopped = True
        self.shutdown()
        self.server_close()
        self.runs.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves in the middle of an answer is no error to report."""


def open_server(runs: WatchedRuns, port: int | None, *, embedded: bool = False) -> WatchServer:
    """The server at `port`; None: 6007, or the next port that is free. ConfigError for a port in use."""
    tried, reason = range(PORT, PORT + PORTS_TRIED) if port is None else (port,), ""
    for number in tried:
        try:
            return WatchServer(runs, number, embedded=embedded)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            reason = "in use" if error.errno == errno.EADDRINUSE else "not allowed"
    some = f"port {port} must be free" if port is not None else f"one of the ports {PORT} to {tried[-1]} must be free"
    raise ConfigError(f"{some}, but is {reason}. Choose another {argument('port', flag='--port')}, or 0 for any.")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SECONDS_WITHOUT_REQUEST

    @property
    def _page(self) -> WatchServer:
        assert isinstance(self.server, WatchServer)
        return self.server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self._page.stopped:
            self.close_connection = True
            return
        address = urlsplit(self.path)
        if not self._is_local():
            # A page of another site whose name points to this machine (DNS rebinding) sends its own name.
            self._fail(HTTPStatus.MISDIRECTED_REQUEST, "the Host of a request must be localhost or 127.0.0.1")
            return
        file = page_files().get(address.path)
        if file is not None:
            unchanged = self.headers.get("If-None-Match") == file.tag
            status = HTTPStatus.NOT_MODIFIED if unchanged else HTTPStatus.OK
            self._send(status, b"" if unchanged else file.content, file.type, {"ETag": file.tag})
            return
        self._answer_data(address.path, parse_qs(address.query))

    def _answer_data(self, path: str, query: Mapping[str, list[str]]) -> None:
        runs = self._page.runs
        runs.requested()
        if path == "/api/runs":
            self._json({"runs": runs.summaries()})
        elif path == "/api/settings":
            self._json({run.name: run.settings() for run in runs.all})
        elif path in ("/api/figures", "/api/samples"):
            run = runs.find(query.get("run", [""])[0])
            if run is None:
                self._fail(HTTPStatus.NOT_FOUND, "`run` must be the name of a run in /api/runs")
                return
            start, generation = _whole(query, "start"), _whole(query, "generation")
            if path == "/api/samples":
                self._json(run.answers(start=start, generation=generation))
                return
            head, columns = run.figures(query.get("name", []), start=start, generation=generation)
            self._send(HTTPStatus.OK, _packed(head, columns), "application/octet-stream")
        else:
            self._fail(HTTPStatus.NOT_FOUND, "there is nothing at this address")

    def _is_local(self) -> bool:
        host = self.headers.get("Host", "")
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        return (name if name and port.isdigit() else host).lower() in _LOCAL_NAMES

    def _json(self, value: Any) -> None:
        text = json.dumps(_finite(value), ensure_ascii=False)
        self._send(HTTPStatus.OK, text.encode("utf-8", "replace"), "application/json")

    def _fail(self, status: HTTPStatus, text: str) -> None:
        self._send(status, json.dumps({"error": text}).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-cache"}
        for name, value in {**headers, **self._page.headers, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """The header `Server`, without versions."""
        return "antiphon"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def _packed(head: Mapping[str, Any], columns: list[bytes]) -> bytes:
    text = json.dumps(head).encode()
    text += b" " * (-(4 + len(text)) % 8)  # the numbers begin at a multiple of 8
    return b"".join([struct.pack("<I", len(text)), text, *columns])


def _whole(query: Mapping[str, list[str]], name: str) -> int:
    text = query.get(name, ["0"])[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _finite(value: Any) -> Any:
    """`value` with null for numbers that JSON does not have."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list) else value
