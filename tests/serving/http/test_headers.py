"""Headers of responses: security, the page, caching, CORS, request ids; and the lines of the log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running
from starlette.testclient import TestClient

from antiphon.serving.http import logs
from antiphon.serving.http.pages import page_routes

PATHS = ["/health", "/", "/nothing", "/v1/models", "/metrics", "/openapi.json", "/v1/generate", "/translate"]


@pytest.mark.parametrize("path", PATHS)
def test_every_response_has_the_headers_of_security(server: LiveServer, path: str) -> None:
    for method in ("GET", "POST"):
        headers = server.client.request(method, path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "*" not in policy and "http" not in policy
        assert "server" not in headers and "access-control-allow-origin" not in headers


def test_the_page_may_load_only_its_own_files(server: LiveServer) -> None:
    response = server.client.get("/")
    policy = response.headers["content-security-policy"]
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/html")
    for source in ("script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'"):
        assert source in policy.split("; ")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TestClient]:
    """Some files of a page."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>", encoding="utf-8")
    (tmp_path / "scripts" / "main.js").write_text("1", encoding="utf-8")
    (tmp_path / ".hidden").write_text("secret", encoding="utf-8")
    app = FastAPI(openapi_url=None)
    app.include_router(page_routes(tmp_path))
    (tmp_path / "later.txt").write_text("made after the start", encoding="utf-8")
    with TestClient(app) as client:
        yield client


def test_files_are_revalidated(site: TestClient, tmp_path: Path) -> None:
    first = site.get("/scripts/main.js")
    assert first.text == "1" and first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"
    again = site.get("/scripts/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    (tmp_path / "scripts" / "main.js").write_text("22", encoding="utf-8")
    assert site.get("/scripts/main.js", headers={"If-None-Match": first.headers["etag"]}).text == "22"
    assert site.head("/").status_code == 200 and site.get("/").text == "<!doctype html>"


@pytest.mark.parametrize(
    "path", ["/.hidden", "/later.txt", "/scripts", "/scripts/", "/../pyproject.toml", "/%2e%2e/x", "//etc/passwd"]
)
def test_only_the_files_of_the_page(site: TestClient, path: str) -> None:
    assert site.get(path).status_code == 404


def test_without_the_page_the_api_works(tmp_path: Path) -> None:
    assert page_routes(tmp_path / "missing").routes == []


ORIGIN = {"Origin": "https://example.org"}


def test_another_origin_is_not_let_in(server: LiveServer) -> None:
    asked = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    response = server.client.options("/v1/generate", headers=asked)
    assert response.status_code == 405 and "access-control-allow-origin" not in response.headers
    response = server.client.post("/v1/generate", json={"inputs": "a"}, headers=ORIGIN)
    assert "access-control-allow-origin" not in response.headers


def test_an_origin_is_let_in_by_a_setting() -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,authorization"}
    with running(FakeService(), cors_origin=["https://example.org"]) as server:
        response = server.client.options("/v1/generate", headers={**ORIGIN, **asked})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://example.org"
        other = server.client.options("/v1/generate", headers={"Origin": "https://evil.example", **asked})
        assert other.status_code == 400 and "access-control-allow-origin" not in other.headers
        made = server.client.post("/v1/generate", json={"inputs": "a"}, headers=ORIGIN)
        assert made.headers["access-control-allow-origin"] == "https://example.org"
        assert "access-control-allow-credentials" not in made.headers


def test_the_id_of_a_request_comes_back(server: LiveServer) -> None:
    assert server.client.get("/health", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {server.client.get("/health", headers=headers).headers["x-request-id"]
            for headers in ({}, {}, {"X-Request-ID": "a b"}, {"X-Request-ID": "x" * 100})}  # fmt: skip
    assert len(made) == 4 and all(len(each) == 32 for each in made)


def logged(**settings: Any) -> list[dict[str, Any]]:
    """The log lines of some requests."""
    stream = io.StringIO()
    handlers = logging.getLogger(logs.EVENTS).handlers
    logs.log_to(stream, requests=True)
    try:
        with running(FakeService(), languages=["en-de"], log_requests=True, **settings) as server:
            server.post("/v1/generate", inputs=["a-secret", "b"])
            server.client.get("/v1/models/a-secret")
            server.client.get("/a-secret?a-secret=1")
            server.post("/v1/generate", inputs=["crash"])
            server.post("/translate", q="a-secret", source="en", target="de")
            server.post("/v1/generate", inputs=["a-secret"], stream=True)
    finally:
        logging.getLogger(logs.EVENTS).handlers = handlers
        logging.getLogger(logs.EVENTS).propagate = True
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_log_has_a_line_for_each_request_and_no_texts() -> None:
    lines = logged()
    assert "a-secret" not in json.dumps(lines)
    requests = [line for line in lines if "route" in line]
    assert [(line["route"], line["status"]) for line in requests] == [
        ("/v1/generate", 200), ("/v1/models/{name}", 404), ("unmatched", 404), ("/v1/generate", 500),
        ("/translate", 200), ("/v1/generate", 200),
    ]  # fmt: skip
    first = requests[0]
    assert first["items"] == 2 and first["characters"] == 9 and first["answer_characters"] == 9
    assert first["model"] == "dates" and first["ms"] >= 0 and first["client"] == "127.0.0.1" and first["id"]
    assert requests[5]["answer_characters"] == 8
    (failure,) = [line for line in lines if "level" in line]
    assert failure["level"] == "error" and requests[3]["id"] in failure["message"]
    assert "RuntimeError" in failure["message"] and "secret detail" not in failure["message"]


def test_texts_are_logged_only_if_asked() -> None:
    first = logged(log_texts=True)[0]
    assert first["texts"] == ["a-secret", "b"] and first["answers"] == ["A-SECRET", "B"]


def test_the_address_behind_a_proxy_is_believed_only_from_that_proxy() -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.7"}

    def client_of(**settings: Any) -> str:
        stream = io.StringIO()
        handlers = logging.getLogger(logs.EVENTS).handlers
        logs.log_to(stream, requests=True)
        try:
            with running(FakeService(), log_requests=True, **settings) as server:
                httpx2.get(f"{server.url}/health", headers=forwarded)
        finally:
            logging.getLogger(logs.EVENTS).handlers = handlers
            logging.getLogger(logs.EVENTS).propagate = True
        return json.loads(stream.getvalue())["client"]

    assert client_of() == "127.0.0.1"
    assert client_of(trusted_proxy=["127.0.0.1"]) == "203.0.113.7"
    assert client_of(trusted_proxy=["10.0.0.0/8"]) == "127.0.0.1"
