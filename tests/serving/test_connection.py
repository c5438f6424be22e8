"""The connection of `antiphon.Client`: what it does when a server is busy, away, slow or no server of ours, against
scripted responses."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import antiphon
from antiphon.errors import UsageError, WorkError

ANSWER = {"text": "ja", "tokens": ["ja"], "score": -1.0, "confidence": 0.5, "finished": True}
GOOD = (200, {}, json.dumps({"answers": [ANSWER]}))
STREAM = {"content-type": "text/event-stream"}


def refusal(status: int, **headers: str) -> tuple[int, dict[str, str], str]:
    error = {"code": "unavailable", "field": None, "message": "not now."}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps({"error": error})


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of a server of `app` in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def scripted(*replies: tuple[int, dict[str, str], str] | None, delay: float = 0.0) -> Iterator[tuple[str, list[dict]]]:
    """The address of a server that sends these responses (None: it closes the connection), and what it was sent."""
    left, seen = list(replies), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append({"path": self.path, "time": time.monotonic(), "port": self.client_address[1], **body})
            time.sleep(delay)
            if (reply := left.pop(0)) is None:
                self.close_connection = True
                return
            status, headers, text = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "content-length" not in headers:
                self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(status: int) -> None:
    with (
        scripted(refusal(status, retry_after="0.5"), refusal(status, retry_after="0"), GOOD) as (url, seen),
        antiphon.Client(url) as client,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        assert client.generate("hello")[0].text == "ja"
    assert [each["inputs"] for each in seen] == [["hello"]] * 3
    assert seen[1]["time"] - seen[0]["time"] >= 0.5
    assert len({each["port"] for each in seen}) == 1, "the connection is not reused"


def test_retry_after_may_be_a_date() -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
    with scripted(refusal(503, retry_after=date), GOOD) as (url, seen), antiphon.Client(url) as client:
        assert client.generate("hello")[0].text == "ja"
    assert seen[1]["time"] - seen[0]["time"] > 0.9, "without the header it is 0.2 at most"


def test_a_pause_that_is_too_long_is_not_waited_for() -> None:
    with (
        scripted(refusal(429, retry_after="100")) as (url, seen),
        antiphon.Client(url, retry_seconds=2) as client,
        pytest.raises(WorkError, match="answered with status 429: not now"),
    ):
        client.generate("hello")
    assert len(seen) == 1


def test_the_time_of_retries_is_bounded() -> None:
    with scripted(*[refusal(503, retry_after="0.1")] * 50) as (url, seen):
        began = time.monotonic()
        with antiphon.Client(url, retry_seconds=0.55) as client, pytest.raises(WorkError, match="503"):
            client.generate("hello")
        assert time.monotonic() - began < 3
    assert 2 <= len(seen) <= 6


def test_no_retries_at_all() -> None:
    with (
        scripted(refusal(503, retry_after="0")) as (url, seen),
        antiphon.Client(url, retry_seconds=0) as client,
        pytest.raises(WorkError, match="503"),
    ):
        client.generate("hello")
    assert len(seen) == 1


@pytest.mark.parametrize("status", [400, 404, 405, 500, 504])
def test_other_failures_are_not_repeated(status: int) -> None:
    with (
        scripted(refusal(status, retry_after="0")) as (url, seen),
        antiphon.Client(url) as client,
        pytest.raises(WorkError, match=f"answered with status {status}: not now"),
    ):
        client.generate("hello")
    assert len(seen) == 1


def test_a_lost_connection_is_made_again() -> None:
    with (
        scripted(None, GOOD) as (url, seen),
        antiphon.Client(url) as client,
        pytest.warns(UserWarning, match=r"no answer from .* Trying again for 30 s"),
    ):
        assert client.generate("hello")[0].text == "ja"
    assert len(seen) == 2


def test_a_server_that_starts_later_is_waited_for() -> None:
    with scripted() as (url, _):
        pass  # its port is free now
    port = int(url.rpartition(":")[2])
    server: list[ThreadingHTTPServer] = []

    class Late(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(GOOD[2].encode())

        def log_message(self, *_: object) -> None:
            pass

    def start() -> None:
        server.append(ThreadingHTTPServer(("127.0.0.1", port), Late))
        server[0].serve_forever(poll_interval=0.02)

    timer = threading.Timer(0.7, start)
    timer.start()
    try:
        with antiphon.Client(url) as client, pytest.warns(UserWarning, match="Is the server running"):
            assert client.generate("hello")[0].text == "ja"
    finally:
        server[0].shutdown()
        server[0].server_close()
        timer.join()


def test_nobody_there() -> None:
    with scripted() as (url, _):
        pass
    with (
        antiphon.Client(url, retry_seconds=0) as client,
        pytest.raises(WorkError, match="Is the server running") as caught,
    ):
        client.generate("hello")
    assert caught.value.__cause__ is not None
    began = time.monotonic()
    with antiphon.Client("http://no-such-host.invalid") as client, pytest.raises(WorkError, match="no answer from"):
        client.generate("hello")
    assert time.monotonic() - began < 10, "an unknown host does not appear by waiting"


def test_a_slow_server_is_left() -> None:
    with (
        scripted(GOOD, GOOD, delay=1.0) as (url, seen),
        antiphon.Client(url, timeout_seconds=0.3) as client,
        pytest.raises(WorkError, match="Raise `timeout_seconds`"),
    ):
        client.generate("hello")
    assert len(seen) == 1


def test_no_antiphon_there() -> None:
    replies = [
        (200, {}, "<html>"),
        (404, {}, "Not Found"),
        (500, {}, '{"error": 3}'),
        (301, {"location": "https://x/"}, ""),
    ]
    with scripted(*replies) as (url, _), antiphon.Client(url) as client:
        for status in (200, 404, 500):
            with pytest.raises(WorkError, match=f"status {status}, which is no answer of `antiphon serve`"):
                client.generate("hello")
        with pytest.raises(WorkError, match="redirects to https://x/"):
            client.generate("hello")


def test_an_address_with_a_path_and_a_password() -> None:
    with (
        scripted(GOOD, refusal(500)) as (url, seen),
        antiphon.Client(url.replace("//", "//user:secret@") + "/mt/") as client,
    ):
        client.generate("hello")
        assert "secret" not in repr(client)
        with pytest.raises(WorkError) as caught:
            client.generate("hello")
        assert "secret" not in str(caught.value)
    assert seen[0]["path"] == "/mt/v1/generate"


def event(**data: object) -> str:
    return f"data: {json.dumps(data)}\n\n"


def test_a_stream_is_asked_for_again_before_its_first_event_only() -> None:
    error = f"event: error\ndata: {json.dumps({'error': {'code': 'unavailable', 'message': 'the model ended.'}})}\n\n"
    replies = [refusal(503, retry_after="0"), (200, STREAM, event(index=0, text="in ") + error)]
    with scripted(*replies) as (url, seen), antiphon.Client(url) as client:
        pieces = client.stream("hello")
        assert len(seen) == 2
        assert next(pieces) == "in "
        with pytest.raises(WorkError, match="the model ended"):
            next(pieces)
    assert len(seen) == 2


@pytest.mark.parametrize("length", [None, "1000"])
def test_a_stream_that_breaks_off_is_an_error(length: str | None) -> None:
    text = event(index=0, text="in ")
    headers = STREAM if length is None else {**STREAM, "content-length": length, "connection": "close"}
    with scripted((200, headers, text)) as (url, _), antiphon.Client(url, timeout_seconds=5) as client:
        pieces = client.stream("hello")
        assert next(pieces) == "in "
        with pytest.raises(WorkError, match=r"the stream from .* (broke off|ended before)"):
            list(pieces)


def test_a_dropped_stream_closes_its_connection() -> None:
    gone = threading.Event()
    app = FastAPI()

    @app.post("/v1/generate")
    async def endless() -> StreamingResponse:
        async def pieces() -> Any:
            try:
                while True:
                    yield event(index=0, text="in ")
                    await anyio.sleep(0.01)
            finally:
                gone.set()

        return StreamingResponse(pieces(), media_type="text/event-stream")

    with running(app) as url, antiphon.Client(url) as client:
        for drop in ("close", "del", "unread"):
            pieces: Any = client.stream("hello")
            if drop != "unread":
                assert next(pieces) == "in "
            if drop == "close":
                pieces.close()
            del pieces
            assert gone.wait(5), drop
            gone.clear()


def test_a_closed_client_says_so() -> None:
    client = antiphon.Client("http://127.0.0.1:9")
    client.close()
    with pytest.raises(UsageError, match="the client is closed"):
        client.generate("hello")
    with scripted(*[refusal(503, retry_after="5")] * 3) as (address, seen):
        client = antiphon.Client(address)
        threading.Timer(0.3, client.close).start()
        began = time.monotonic()
        with pytest.raises(UsageError, match="the client is closed"):
            client.generate("hello")
        assert time.monotonic() - began < 3
        assert len(seen) == 1


def test_warnings_of_the_server_are_warnings_here() -> None:
    answers = [ANSWER | {"warnings": ["the text was cut.", "slow."]}, ANSWER]
    reply = (200, {}, json.dumps({"answers": answers}))
    final = event(index=0, answer=answers[0]) + "data: [DONE]\n\n"
    with scripted(reply, (200, STREAM, final)) as (url, _), antiphon.Client(url) as client:
        with pytest.warns(UserWarning) as caught:
            client.generate("hello")
        assert [str(each.message) for each in caught] == ["the text was cut.", "slow."]
        assert {each.filename for each in caught} == {__file__}
        with pytest.warns(UserWarning) as caught:
            assert list(client.stream("hello")) == []
        assert [str(each.message) for each in caught] == ["the text was cut.", "slow."]
