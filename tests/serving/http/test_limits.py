"""Limits: what is at the limit is accepted, one over is refused with both numbers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running

LIMITS = {
    "max_body_bytes": 2000,
    "max_header_bytes": 2000,
    "max_items": 3,
    "max_characters": 500,
    "max_beam_size": 5,
    "max_new_tokens": 50,
}


@pytest.fixture(scope="module")
def limited() -> Iterator[LiveServer]:
    with running(FakeService(), languages=["en-de"], **LIMITS) as server:
        yield server


def message_of(response: httpx2.Response) -> str:
    body = response.json()
    error = body.get("error", body.get("message"))
    return error if isinstance(error, str) else error["message"]


GENERATE = {"inputs": "a"}
LIBRE = {"q": "a", "source": "en", "target": "de"}
DEEPL = {"target_lang": "DE"}


def longest(field: str, **others: Any) -> tuple[Any, Any, int, str, int, int]:
    """The row of a field whose text may have 500 characters."""
    return {**others, field: "a" * 500}, {**others, field: "a" * 501}, 413, field, 500, 501


def most(field: str, **others: Any) -> tuple[Any, Any, int, str, int, int]:
    """The row of a field that may have 3 texts."""
    return {**others, field: ["a"] * 3}, {**others, field: ["a"] * 4}, 413, field, 3, 4


def largest(field: str, limit: int, **others: Any) -> tuple[Any, Any, int, str, int, int]:
    """The row of a number."""
    return {**others, field: limit}, {**others, field: limit + 1}, 422, field, limit, limit + 1


OVER = [  # route, the body at the limit, what is one over, the status, the field, the limit, the value
    ("/v1/generate", *most("inputs")),
    ("/v1/generate", *longest("inputs")),
    ("/v1/generate", *largest("beam_size", 5, **GENERATE)),
    ("/v1/generate", *largest("n_best", 5, **GENERATE)),
    ("/v1/generate", *largest("beam_groups", 5, **GENERATE)),
    ("/v1/generate", *largest("max_new_tokens", 50, **GENERATE)),
    ("/v1/generate", *longest("prefix", **GENERATE)),
    ("/v1/score", *most("sources", targets=["a"] * 3)),
    ("/v1/score", *longest("sources", targets="a")),
    ("/v1/score", *longest("targets", sources="a")),
    ("/v1/attention", *longest("source")),
    ("/v1/attention", *longest("target", source="a")),
    ("/v1/translate", *most("texts")),
    ("/v1/translate", *longest("text")),
    ("/v1/translate", *largest("alternatives", 4, text="a")),
    ("/v1/translate", *largest("beam_size", 5, text="a")),
    ("/translate", *most("q", source="en", target="de")),
    ("/translate", *longest("q", source="en", target="de")),
    ("/translate", *largest("alternatives", 4, **LIBRE)),
    ("/detect", *longest("q")),
    ("/v2/translate", *most("text", **DEEPL)),
    ("/v2/translate", *longest("text", **DEEPL)),
]


@pytest.mark.parametrize(
    ("path", "at", "over", "status", "field", "limit", "value"),
    OVER,
    ids=[f"{row[0]} {row[4]} {row[5]}" for row in OVER],
)
def test_at_the_limit_and_one_over(
    limited: LiveServer, path: str, at: Any, over: Any, status: int, field: str, limit: int, value: int
) -> None:
    assert limited.client.post(path, json=at).status_code == 200
    response = limited.client.post(path, json=over)
    message = message_of(response)
    assert response.status_code == status
    assert f"`{field}`" in message and str(limit) in message and str(value) in message


def received(client: socket.socket) -> bytes:
    """What the server sends before it closes the connection."""
    found = b""
    while part := client.recv(65536):
        found += part
    return found


def body_of(size: int) -> bytes:
    start = b'{"inputs": "a"'
    return start + b" " * (size - len(start) - 1) + b"}"


@pytest.mark.parametrize("chunked", [False, True])
def test_bytes_of_the_body(limited: LiveServer, chunked: bool) -> None:
    def send(size: int) -> httpx2.Response:
        body = body_of(size)
        content: Any = (body[place : place + 500] for place in range(0, size, 500)) if chunked else body
        return limited.client.post("/v1/generate", content=content, headers={"Content-Type": "application/json"})

    assert send(2000).status_code == 200
    response = send(2001)
    error = response.json()["error"]
    assert response.status_code == 413 and error["field"] == "body"
    assert "2000" in error["message"] and "2001" in error["message"]
    assert send(2000).status_code == 200  # the connection is not broken


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/translate_file", "/v1/files", "/translate"])
def test_bytes_of_files(limited: LiveServer, path: str) -> None:
    response = limited.client.post(path, data={"model": "ears"}, files={"file": ("a.wav", b"a" * 3000)})
    message = message_of(response)
    assert response.status_code == 413 and "`body`" in message and "2000" in message


def test_a_body_far_above_the_limit_is_answered(limited: LiveServer) -> None:
    """The client reads the answer instead of a reset connection, whatever its library does."""
    for size in (2001, 200_000, 5_000_000):
        response = limited.client.post(
            "/v1/generate", content=b" " * size, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 413 and str(size) in message_of(response)


def test_a_body_that_claims_to_be_huge_is_refused_before_it_comes(limited: LiveServer) -> None:
    head = b"POST /v1/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    with socket.create_connection((limited.host, limited.port), timeout=20) as client:
        client.sendall(head + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        answer = received(client)
    assert answer.startswith(b"HTTP/1.1 413") and b"99999999999" in answer and b"connection: close" in answer.lower()


def test_bytes_of_the_headers(limited: LiveServer) -> None:
    def head_of(size: int) -> bytes:
        start = b"GET /health HTTP/1.1\r\nhost: a\r\nx-a: "
        return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"

    def send(head: bytes) -> bytes:
        with socket.create_connection((limited.host, limited.port), timeout=20) as client:
            client.sendall(head)
            client.shutdown(socket.SHUT_WR)
            return received(client)

    assert send(head_of(2000)).startswith(b"HTTP/1.1 200")
    over = send(head_of(2001))
    assert over.startswith(b"HTTP/1.1 431") and b"2000" in over and b"2001" in over and b"`headers`" in over
    for size in (6000, 6200, 20_000, 300_000):
        answer = send(head_of(size))
        assert answer.startswith(b"HTTP/1.1 431") and b"2000" in answer, (size, answer)
    target = b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nhost: a\r\n\r\n"
    assert send(target).startswith(b"HTTP/1.1 431")
