"""Connections: slow ones are closed, broken ones answered, and calls end with their clients."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator

import pytest
from counts import count
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running, until

HEAD = b"POST /v1/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def hasty() -> Iterator[LiveServer]:
    """A server with short time-outs."""
    seconds = {"header_timeout_seconds": 0.4, "body_timeout_seconds": 0.6, "keep_alive_seconds": 1.0}
    with running(FakeService(), max_body_bytes=10**8, max_characters=10**8, **seconds) as server:
        yield server


def connected(server: LiveServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=20)


def rest(client: socket.socket) -> bytes:
    """What comes until the connection ends."""
    found = b""
    try:
        while part := client.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /health HTTP/1.1\r\nHost: a\r\n"])
def test_slow_headers(hasty: LiveServer, sent: bytes) -> None:
    with connected(hasty) as client:
        begun = time.monotonic()
        client.sendall(sent)
        answer = rest(client)
        assert 0.2 < time.monotonic() - begun < 5
    assert answer == b"" or (answer.startswith(b"HTTP/1.1 408") and b"0.4 seconds" in answer)


def test_headers_one_byte_at_a_time(hasty: LiveServer) -> None:
    with connected(hasty) as client:
        begun = time.monotonic()
        with pytest.raises(OSError):
            for byte in b"GET /health HTTP/1.1\r\nX-Slow: " + b"a" * 1000:
                client.sendall(bytes([byte]))
                time.sleep(0.02)
        assert time.monotonic() - begun < 5


def test_slow_headers_of_a_second_request(hasty: LiveServer) -> None:
    with connected(hasty) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            answer += client.recv(65536)
        begun = time.monotonic()
        client.sendall(b"GET /heal")
        assert rest(client).startswith(b"HTTP/1.1 408") and time.monotonic() - begun < 5


def test_an_idle_connection_is_closed(hasty: LiveServer) -> None:
    with connected(hasty) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        begun = time.monotonic()
        assert rest(client).startswith(b"HTTP/1.1 200")
        assert 0.5 < time.monotonic() - begun < 5


@pytest.mark.parametrize("extra", [b"Content-Length: 20\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"])
def test_a_slow_body(hasty: LiveServer, extra: bytes) -> None:
    with connected(hasty) as client:
        begun = time.monotonic()
        client.sendall(HEAD + extra)
        answer = rest(client)
    assert answer.startswith(b"HTTP/1.1 408") and b"`body`" in answer and b"connection: close" in answer.lower()
    assert time.monotonic() - begun < 5


def test_a_body_one_byte_at_a_time(hasty: LiveServer) -> None:
    with connected(hasty) as client:
        begun = time.monotonic()
        client.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        try:
            for _ in range(200):
                client.sendall(b" ")
                time.sleep(0.02)
        except OSError:
            pass
        assert time.monotonic() - begun < 5


def test_a_client_that_does_not_read(hasty: LiveServer) -> None:
    """Its answer of 40 MB does not fit into the buffers; the connection is cut, and the memory is free again."""
    body = json.dumps({"inputs": ["a" * 10_000_000], "n_best": 3}).encode()
    with connected(hasty) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: hasty.context.activity.running == 1)
        until(lambda: hasty.context.activity.running == 0 and not hasty.server.server_state.connections, 20)
    assert hasty.client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("path", "stream"),
    [("/v1/generate", False), ("/v1/generate", True), ("/translate", False), ("/v2/translate", False)],
)
def test_a_call_ends_with_its_client(server: LiveServer, service: FakeService, path: str, stream: bool) -> None:
    bodies = {
        "/v1/generate": {"inputs": ["in 3 hours"], "stream": stream},
        "/translate": {"q": "in 3 hours", "source": "en", "target": "de"},
        "/v2/translate": {"text": ["in 3 hours"], "target_lang": "DE"},
    }
    content = json.dumps(bodies[path]).encode()
    service.pause()
    try:
        head = HEAD.replace(b"/v1/generate", path.encode())
        cancelled, clients = service.cancelled, [connected(server) for _ in range(count("aborted_requests"))]
        for client in clients:
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(content) + content)
        until(lambda: service.running == len(clients))
        for client in clients:
            client.close()
        assert until(lambda: service.running == 0) < 0.25 + len(clients) / 100
        assert service.cancelled == cancelled + len(clients)
    finally:
        service.resume()
    assert server.post("/v1/generate", inputs=["a"]).json()["answers"][0]["text"] == "A"
    until(lambda: server.context.activity.running == 0)


def test_a_stream_ends_with_its_client(server: LiveServer, service: FakeService) -> None:
    cancelled = service.cancelled
    text = "word " * 20_000
    with server.client.stream("POST", "/v1/generate", json={"inputs": [text], "stream": True}) as response:
        pieces = response.iter_bytes()  # held: the response is closed when its iterator is deleted
        next(pieces)
        assert service.running == 1
    until(lambda: service.running == 0)
    assert service.cancelled == cancelled + 1


def test_a_response_does_not_wait_for_the_acknowledgement_of_its_head(server: LiveServer) -> None:
    def seconds() -> float:
        begun = time.monotonic()
        server.client.get("/health")
        return time.monotonic() - begun

    assert min(seconds() for _ in range(20)) < 0.03


def broken_messages(number: int) -> Iterator[bytes]:
    """Messages that are no HTTP, or hardly."""
    random_ = random.Random(0)
    good = HEAD + b"Content-Length: 15\r\n\r\n" + b'{"inputs": "a"}'
    parts = [b"GET ", b"POST ", b"PRI * HTTP/2.0", b"\r\n\r\n", b"\n", b"\0", b" HTTP/1.1", b"HTTP/9.9"]
    parts += [b"A" * 300, b"*", b"http://b/", b"\xff\xfe", b"/%00%ff/../..", b"/v1/files/%2e", b"fffffffffffffff"]
    parts += [
        line + b"\r\n"
        for line in (
            b"Host: a", b"Content-Length: -1", b"Content-Length: 1\r\nContent-Length: 2", b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked", b"Connection: upgrade\r\nUpgrade: websocket", b"Expect: 100-continue",
            b"Authorization: Bearer \xff", b"X-Request-ID: a\tb", b"Content-Type: multipart/form-data",
        )
    ]  # fmt: skip
    for _ in range(number):
        kind = random_.randrange(4)
        if kind == 0:
            yield random_.randbytes(random_.randrange(1, 200))
        elif kind == 1:
            yield b"".join(random_.choices(parts, k=random_.randrange(1, 12)))
        elif kind == 2:
            message = bytearray(good)
            for _ in range(random_.randrange(1, 6)):
                message[random_.randrange(len(message))] = random_.randrange(256)
            yield bytes(message)
        else:
            place = random_.randrange(len(good))
            yield good[:place] + b"".join(random_.choices(parts, k=2)) + good[place:]


@pytest.mark.timeout(3600)  # the full count
def test_broken_messages(server: LiveServer) -> None:
    """The server answers with an error, or closes, and lives on."""
    statuses = set()
    for number, message in enumerate(broken_messages(count("malformed_http"))):
        if number % 50 == 0:
            assert server.post("/v1/generate", inputs=["a"]).status_code == 200
        with connected(server) as client:
            try:
                client.sendall(message)
                client.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            answer = rest(client)
        assert b"Traceback" not in answer and b'File "' not in answer
        if answer:
            statuses.add(int(answer[9:12]))
            assert statuses <= {100, 200, 400, 404, 405, 413, 415, 422, 431}, (message, answer)
    assert 400 in statuses
    assert server.post("/v1/generate", inputs=["a"]).json()["answers"][0]["text"] == "A"
    until(lambda: server.context.activity.running == 0)
    until(lambda: len(server.server.server_state.connections) <= 1)
